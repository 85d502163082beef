import { type ErrorCode, errors } from '../client/protocol/index.js';

/** A refusal with a code from the one table of errors. Its message goes to the client: no SQL, no secret. */
export class Refusal extends Error {
  override readonly name = 'Refusal';
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string = errors[code].meaning) {
    super(message);
    this.code = code;
  }
}
