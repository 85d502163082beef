import type { Request } from 'express';
import getRawBody from 'raw-body';
import { Refusal } from '../ground/refusal.js';

/** Reads the body of a request as JSON, whatever type it says it has. Rejects with `Refusal`, or with the error of a client that has gone. */
export type BodyReader = (request: Request) => Promise<unknown>;

export interface BodyOptions {
  readonly maxBytes: number;
  /** The code of a body that cannot be read, but for one that is no JSON. */
  readonly unreadable: 'invalid_frame' | 'invalid_request';
  /** Given each value with its name. Throws `Refusal`. */
  readonly revive?: (name: string, value: unknown) => unknown;
}

export function bodyReader({ maxBytes, unreadable, revive }: BodyOptions): BodyReader {
  return async (request) => {
    const { upgrade, 'content-encoding': encoding = '', 'content-length': length = null } = request.headers;
    // Node takes what follows an offer to upgrade for the other protocol, and would find no body.
    if (upgrade !== undefined) {
      throw new Refusal(unreadable, 'a request with a body must not offer to upgrade: ask by HTTP/1.1');
    }
    if (!/^(identity)?$/i.test(encoding)) throw new Refusal(unreadable, 'a body must not be compressed');
    if (!request.readable) throw new Refusal(unreadable, 'the client has gone');
    // The parsers of Express read what is too large to its end before they say so.
    const text = await getRawBody(request, { length, limit: maxBytes, encoding: 'utf8' });
    if (text === '') throw new Refusal('invalid_json', 'the body is empty');
    try {
      return JSON.parse(text, revive);
    } catch (error) {
      if (error instanceof SyntaxError) throw new Refusal('invalid_json', 'the body is not JSON');
      throw error instanceof RangeError ? new Refusal(unreadable, 'the body is too deep') : error;
    }
  };
}
