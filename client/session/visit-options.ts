import type { Clock } from '../ground/clock.js';
import type { RowcastError } from '../ground/error.js';
import type { Frame } from '../protocol/index.js';
import type { Rung } from '../transport/rung.js';
import type { VisitResult } from './ladder.js';

/** How a visit ended, unless `close` ended it. */
export interface VisitEnd extends VisitResult {
  readonly error: RowcastError;
  /** The gateway told the client not to come back. */
  readonly stops: boolean;
  /** The retry hint of the gateway: how long to wait before the next attempt, in milliseconds. */
  readonly retryAfter: number | undefined;
  /** A network hint had come and the connection did not answer, so the network is probably another one. */
  readonly probed: boolean;
}

export interface VisitEvents {
  onConnected(): void;
  /** After `onConnected`: the transport is known to carry data without holding it back. */
  onProven(): void;
  /** Called with each frame that is no reply to a command. */
  onFrame(frame: Frame): void;
  /** Nothing more is reported. */
  onEnd(end: VisitEnd): void;
}

export interface VisitOptions {
  readonly rung: Rung;
  readonly token: () => Promise<string | undefined>;
  readonly clock: Clock;
  /** From 0 to 1. */
  readonly random: () => number;
  /** How long `opening` and `connecting` may take together, in milliseconds. */
  readonly handshakeTimeout: number;
  /** Whether the gateway is asked for the times of new events. */
  readonly times?: boolean | undefined;
  readonly events: VisitEvents;
}
