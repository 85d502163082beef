import { randomUUID } from 'node:crypto';
import type { Request, Response } from 'express';

const HEADER = 'X-Request-Id';
const GIVEN = /^[A-Za-z0-9._-]{1,64}$/;

/** The name of a request in logs, rows and its answer: the one that it came with, or a new one. The answer says it. */
export function requestIdOf(request: Request, response: Response): string {
  const said = response.get(HEADER);
  if (said !== undefined) return said;
  const given = request.get(HEADER) ?? '';
  const id = GIVEN.test(given) ? given : randomUUID();
  response.set(HEADER, id);
  return id;
}
