import type { RequestHandler } from 'express';
import { Refusal } from '../ground/refusal.js';

/** Refuses every method that a path does not have; `allowed` are those that it has. */
export function refuseMethod(allowed: string): RequestHandler {
  return (_request, response) => {
    response.set('Allow', allowed);
    throw new Refusal('method_not_allowed');
  };
}
