import { outcomeOf } from '../protocol/index.js';

/** An error with a code from the table of errors (`rowcast/protocol`). */
export class RowcastError extends Error {
  readonly code: string;
  /** Whether the client tries again by itself. */
  readonly retries: boolean;

  constructor(code: string, message?: string, retries?: boolean) {
    super(message ?? code);
    this.name = 'RowcastError';
    this.code = code;
    this.retries = retries ?? outcomeOf(code).outcome === 'retry';
  }
}

/** What a failure means to the caller: an error that is not from the table says that no gateway has answered. */
export function errorOf(reason: unknown): RowcastError {
  return reason instanceof RowcastError ? reason : new RowcastError('unavailable', String(reason));
}

/**
 * A readable reason for a failed request. An error of `fetch` has the reason in its `cause`, which lists several errors
 * where a name such as `localhost` has several addresses.
 */
export function causeOf(reason: unknown): string {
  const { cause = reason } = Object(reason) as { cause?: unknown };
  const { errors = [] } = Object(cause) as { errors?: readonly unknown[] };
  const first: unknown = errors[0] ?? cause;
  return first instanceof Error ? first.message : String(first);
}
