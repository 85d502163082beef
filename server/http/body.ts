import type { Request } from 'express';
import getRawBody from 'raw-body';
import { Refusal } from '../ground/refusal.js';

/** Reads the body of a request as JSON, whatever its Content-Type. Rejects with `Refusal`, or with the error of raw-body if the client disconnects. */
export type BodyReader = (request: Request) => Promise<unknown>;

export interface BodyOptions {
  readonly maxBytes: number;
  /** The error code of a body that cannot be read. A body that is not JSON has `invalid_json`. */
  readonly unreadable: 'invalid_frame' | 'invalid_request';
  /** Called for each value with its name, as by `JSON.parse`. Throws `Refusal`. */
  readonly revive?: (name: string, value: unknown) => unknown;
}

export function bodyReader({ maxBytes, unreadable, revive }: BodyOptions): BodyReader {
  return async (request) => {
    const { upgrade, 'content-encoding': encoding = '', 'content-length': length = null } = request.headers;
    // Node treats all that follows an Upgrade header as the other protocol, so that the body would be empty.
    if (upgrade !== undefined) {
      throw new Refusal(unreadable, 'a request with a body must not have an Upgrade header');
    }
    if (!/^(identity)?$/i.test(encoding)) throw new Refusal(unreadable, 'a body must not be compressed');
    if (!request.readable) throw new Refusal(unreadable, 'the client has disconnected');
    // Not with the parsers of Express, which read a body that is too large to its end before they refuse it.
    const text = await getRawBody(request, { length, limit: maxBytes, encoding: 'utf8' });
    if (text === '') throw new Refusal('invalid_json', 'the body is empty');
    try {
      return JSON.parse(text, revive);
    } catch (error) {
      if (error instanceof SyntaxError) throw new Refusal('invalid_json', 'the body is not JSON');
      throw error instanceof RangeError ? new Refusal(unreadable, 'the body is nested too deeply') : error;
    }
  };
}
