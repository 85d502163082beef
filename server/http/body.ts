import express, { type Request, type Response } from 'express';
import { Refusal } from '../refusal.js';

/** Reads the body of a request as JSON, whatever type it says it has. Rejects with `Refusal`, or with what Express makes of it. */
export type BodyReader = (request: Request, response: Response) => Promise<unknown>;

export interface BodyOptions {
  readonly maxBytes: number;
  /** The code of a body that cannot be read, but for one that is no JSON. */
  readonly unreadable: 'invalid_frame' | 'invalid_request';
  /** Given each value with its name. Throws `Refusal`. */
  readonly revive?: (name: string, value: unknown) => unknown;
}

export function bodyReader({ maxBytes, unreadable, revive }: BodyOptions): BodyReader {
  const readText = express.text({ type: () => true, limit: maxBytes, inflate: false });
  return async (request, response) => {
    // Node takes what follows an offer to upgrade for the other protocol, and would find no body.
    if (request.headers.upgrade !== undefined) {
      throw new Refusal(unreadable, 'a request with a body must not offer to upgrade: ask by HTTP/1.1');
    }
    await new Promise<void>((resolve, reject) => {
      readText(request, response, (error?: unknown) => (error === undefined ? resolve() : reject(error)));
    });
    try {
      return JSON.parse(request.body ?? '', revive);
    } catch (error) {
      if (error instanceof SyntaxError) throw new Refusal('invalid_json', 'the body is not JSON');
      throw error instanceof RangeError ? new Refusal(unreadable, 'the body is too deep') : error;
    }
  };
}
