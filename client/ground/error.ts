import { outcomeOf } from '../protocol/index.js';

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

/** Why something failed, for a person. `fetch` says only that it did, and why in its cause; `localhost` has two addresses. */
export function causeOf(reason: unknown): string {
  const { cause = reason } = Object(reason) as { cause?: unknown };
  const { errors = [] } = Object(cause) as { errors?: readonly unknown[] };
  return String(errors[0] ?? cause);
}
