import type { Client } from '../client.js';
import type { RowcastError } from '../ground/error.js';
import type { Transport } from '../session/open.js';
import type { TransportName } from '../transport/rung.js';
import { Value } from './listeners.js';
import type { Store } from './live.js';
import { shared } from './shared.js';

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

/** The state of the present client: told at once when it changes, and each second what only its times say. */
export class ConnectionStore extends Value<ConnectionState> {
  #client: Client | null = null;
  #transports: readonly Transport[] | null;
  #closed = false;
  #error: RowcastError | null = null;
  #unwatch: () => void = () => {};
  #stopTicking: () => void = () => {};

  constructor(seconds: () => Store<number>, transports: readonly Transport[] | null) {
    super(
      { ...NONE, transports },
      () => {
        this.#stopTicking = seconds().subscribe(() => this.refresh());
        this.refresh();
      },
      () => this.#stopTicking(),
    );
    this.#transports = transports;
  }

  /** Null: there is no connection, because no transport may be used. */
  use(client: Client | null, transports: readonly Transport[] | null): void {
    this.#unwatch();
    this.#client = client;
    this.#transports = transports;
    this.#error = null;
    this.#unwatch =
      client?.watch((state, error) => {
        this.#error = state === 'connected' ? null : (error ?? this.#error);
        this.refresh();
      }) ?? (() => {});
    this.refresh();
  }

  close(): void {
    this.#unwatch();
    this.#closed = true;
    this.refresh();
  }

  refresh(): void {
    const transports = this.#transports;
    const none: ConnectionState = transports?.length === 0 ? { ...NONE, state: 'waiting' } : NONE;
    const { heardAt, roundTrip, retryAt, state, transport } = this.#client ?? none;
    const interval = String(transports) === 'poll' ? 'interval' : 'long';
    const error = this.#error;
    const polling = transport === 'poll' ? interval : null;
    const next = { state, transport, polling, transports, heardAt, roundTrip, retryAt, error } as const;
    this.set(shared(this.get(), this.#closed ? { ...next, state: 'closed', transport: null, polling: null } : next));
  }
}

const NONE: ConnectionState = {
  state: 'idle',
  transport: null,
  polling: null,
  transports: null,
  heardAt: null,
  roundTrip: null,
  retryAt: null,
  error: null,
};
