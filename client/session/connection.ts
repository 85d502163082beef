import type { RowcastError } from '../ground/error.js';
import type { Command, Frame, Reply } from '../protocol/index.js';
import type { TransportName } from '../transport/rung.js';

/** `connecting`: a link is being opened. `waiting`: the next one is opened after a delay. `closed`: none will be. */
export type SessionState = 'connecting' | 'connected' | 'waiting' | 'closed';

type WithoutId<C> = C extends { id: number } ? Omit<C, 'id'> : never;
export type Request = WithoutId<Command>;

export interface SessionEvents {
  /** `connected` is told again where another transport took over: every subscription must subscribe anew. */
  onState(state: SessionState, error?: RowcastError): void;
  /** Every frame that is no reply to a command. */
  onFrame(frame: Frame): void;
}

/** What carries the commands of the subscriptions to the gateway, and its frames back. */
export interface Carrier {
  readonly state: SessionState;
  /** What it is connected by; null while it is not. */
  readonly transport: TransportName | null;
  /** Begins; a second call does nothing. */
  start(): void;
  /** Sends a command; `onReply` gets its one reply, or nothing if the connection is lost before. */
  request(command: Request, onReply?: (reply: Reply) => void): void;
  /** Ends everything for good: no timer, socket or listener remains (I7). */
  close(): void;
}
