import type { IncomingMessage } from 'node:http';
import type { RequestHandler } from 'express';
import { Refusal } from '../ground/refusal.js';

/** Refuses requests with a retry hint while `wait`, in milliseconds, is above 0. */
export function limitedBy(wait: (request: IncomingMessage) => number): RequestHandler {
  return (request, _response, next) => {
    const retryAfter = wait(request);
    if (retryAfter === 0) return next();
    throw new Refusal('rate_limited', undefined, retryAfter);
  };
}
