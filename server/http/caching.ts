import type { Request, Response } from 'express';

/** Whether a cache that serves many principals may keep what one of them was given. */
export type CacheScope = 'private' | 'public';

/** A page of history never changes: it may be kept for so long, in seconds. */
const FOREVER = 31_536_000;

/** Says how an answer may be kept: `fixed` for ever, any other until it was asked for anew. */
export function letKeep(response: Response, scope: CacheScope, fixed: boolean): void {
  response.set('Cache-Control', fixed ? `${scope}, max-age=${FOREVER}, immutable` : `${scope}, no-cache`);
  if (scope === 'private') response.vary('Authorization, Cookie');
}

/** Whether the client has this very answer. Express would not say so to a client that asks past its own cache, as `fetch` does. */
export function isKnown(request: Request, response: Response): boolean {
  const etag = response.get('ETag');
  const known = request.get('If-None-Match');
  if (etag === undefined || known === undefined) return false;
  return known.trim() === '*' || known.split(',').some((tag) => opaque(tag) === opaque(etag));
}

/** A tag by itself: strong and weak ones are the same here (RFC 9110, 13.1.2), and a proxy that compresses weakens a strong one. */
function opaque(tag: string): string {
  return tag.trim().replace(/^W\//, '');
}
