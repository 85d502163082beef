import { outcomeOf } from './protocol/index.js';

/** What went wrong, with its code from the table of errors in `rowcast/protocol`. */
export class RowcastError extends Error {
  readonly code: string;
  /** Whether the client goes on trying by itself. */
  readonly retries: boolean;

  constructor(code: string, message?: string, retries?: boolean) {
    super(message ?? code);
    this.name = 'RowcastError';
    this.code = code;
    this.retries = retries ?? outcomeOf(code).outcome === 'retry';
  }
}
