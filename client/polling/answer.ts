import type { RowcastError } from '../error.js';
import type { Command, Frame } from '../protocol/index.js';

/** The request was refused as a whole. `retryAfter`: when to come back, in milliseconds, where the gateway said so. */
export interface Refusal {
  readonly error: RowcastError;
  readonly retryAfter: number | undefined;
}

/** What came of one request. */
export interface Answer {
  readonly frames: readonly Frame[];
  /** Where each channel of the request stands now. */
  readonly positions: Readonly<Record<string, unknown>>;
  readonly refusal: Refusal | null;
}

/** Makes one request. Rejects where no gateway has answered. */
export type Exchange = (commands: readonly Command[], signal: AbortSignal) => Promise<Answer>;
