import { type ErrorCode, errors } from '../client/protocol/index.js';

/** A refusal with a code from the one table of errors. Its message goes to the client: no SQL, no secret. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: ErrorCode;
  /** When to come back, in milliseconds from now; 0 where there is no such time. */
  readonly retryAfter: number;

  constructor(code: ErrorCode, message: string = errors[code].meaning, retryAfter = 0) {
    super(message);
    this.code = code;
    this.retryAfter = retryAfter;
  }
}
