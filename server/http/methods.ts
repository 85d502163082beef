import type { RequestHandler } from 'express';
import { Refusal } from '../ground/refusal.js';

/** Refuses every other method of a path. `allowed` lists its methods, as in the header Allow. */
export function refuseMethod(allowed: string): RequestHandler {
  return (_request, response) => {
    response.set('Allow', allowed);
    throw new Refusal('method_not_allowed');
  };
}
