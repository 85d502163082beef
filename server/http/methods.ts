import type { RequestHandler } from 'express';

/** Answers every method that a path does not have; `allowed` are those that it has. */
export function refuseMethod(allowed: string): RequestHandler {
  return (_request, response) => {
    response.set({ Allow: allowed, 'Cache-Control': 'no-store' }).status(405).end();
  };
}
