import type { IncomingMessage } from 'node:http';
import type { RequestHandler } from 'express';
import { Refusal } from '../ground/refusal.js';

/** Passes on what may be asked now. `wait`: for how long whoever asks has to wait, in milliseconds; 0 where not at all. */
export function limitedBy(wait: (request: IncomingMessage) => number): RequestHandler {
  return (request, _response, next) => {
    const retryAfter = wait(request);
    if (retryAfter === 0) return next();
    throw new Refusal('rate_limited', undefined, retryAfter);
  };
}
