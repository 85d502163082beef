import { randomUUID } from 'node:crypto';
import type { Request, Response } from 'express';

const HEADER = 'X-Request-Id';
const VALID = /^[A-Za-z0-9._-]{1,64}$/;

/** Returns the id of a request for logs, rows and the response: that of its header if it is valid, or else a new one. Sets the response header. */
export function requestIdOf(request: Request, response: Response): string {
  const assigned = response.get(HEADER);
  if (assigned !== undefined) return assigned;
  const sent = request.get(HEADER) ?? '';
  const id = VALID.test(sent) ? sent : randomUUID();
  response.set(HEADER, id);
  return id;
}
