import type { Command, Frame } from '../protocol/index.js';

/** What came of one request. An error that answers no command refuses the request as a whole. */
export interface Answer {
  readonly frames: readonly Frame[];
  /** Where each channel of the request stands now. */
  readonly positions: Readonly<Record<string, unknown>>;
}

/** Makes one request. Rejects where no gateway has answered. */
export type Exchange = (commands: readonly Command[], signal: AbortSignal) => Promise<Answer>;
