import type { RowcastError } from '../ground/error.js';
import type { Transport } from '../session/open.js';
import type { TransportName } from '../transport/rung.js';

/** The connection to the gateway, as a page shows it. Times are milliseconds since 1970. */
export interface ConnectionState {
  /** `idle`: nothing was subscribed to yet. `waiting`: the next attempt comes at `retryAt`. `closed`: none will come. */
  readonly state: 'idle' | 'connecting' | 'connected' | 'waiting' | 'closed';
  /** The transport in use; `tabs` while another tab has the connection. Null while not connected. */
  readonly transport: TransportName | null;
  /** How it polls, where `transport` is `poll`: the gateway holds each request until there is news, or one follows on an interval. */
  readonly polling: 'long' | 'interval' | null;
  /** The transports it is limited to; null: all of them. */
  readonly transports: readonly Transport[] | null;
  /** When data last arrived, a heartbeat included. */
  readonly heardAt: number | null;
  /** The latest round trip, in milliseconds. */
  readonly roundTrip: number | null;
  readonly retryAt: number | null;
  readonly error: RowcastError | null;
}
