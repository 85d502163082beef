import type { RowcastError } from '../ground/error.js';
import type { Command, Frame, Reply } from '../protocol/index.js';
import type { TransportName } from '../transport/rung.js';

/** `connecting`: a connection is being opened. `waiting`: the next attempt comes after a delay. `closed`: none will come. */
export type SessionState = 'connecting' | 'connected' | 'waiting' | 'closed';

type WithoutId<C> = C extends { id: number } ? Omit<C, 'id'> : never;
export type Request = WithoutId<Command>;

/** Called when the state has changed. `connected` is repeated when another transport has taken over. */
export type StateListener = (state: SessionState, error?: RowcastError) => void;

export interface ConnectionEvents {
  readonly onState: StateListener;
  /** Called with each frame that is no reply to a command. */
  onFrame(frame: Frame): void;
}

/** What can be read about a connection. Times in milliseconds. */
export interface ConnectionHealth {
  /** When data last arrived, in milliseconds since 1970; null before the first. It stays when the connection is lost. */
  readonly heardAt: number | null;
  /** How long the latest command that asks nothing else took to be answered: a ping, or `connect`; null before the first. */
  readonly roundTrip: number | null;
  /** When the next attempt to connect is due, in milliseconds since 1970; null while none is planned. */
  readonly retryAt: number | null;
}

/** What brings the commands of the subscriptions to the gateway, and its frames back. It reconnects by itself. */
export interface Connection extends ConnectionHealth {
  readonly state: SessionState;
  /** The transport in use; null while not connected. */
  readonly transport: TransportName | null;
  /** Begins to connect. A second call has no effect. */
  start(): void;
  /** Sends a command; `onReply` gets its one reply, or is never called if the connection is lost before. */
  request(command: Request, onReply?: (reply: Reply) => void): void;
  /** Connects anew if there is a connection; else makes the next attempt as early as the limits allow. */
  reconnect(): void;
  /** Ends the connection for good: no timer, socket or listener remains (I7). */
  close(): void;
}
