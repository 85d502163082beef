import type { Request, Response } from 'express';

/** `public` if a shared cache may serve a response to other principals than the one that requested it. */
export type CacheScope = 'private' | 'public';

/** How long a response that never changes may be cached, in seconds: a year. */
const FOREVER = 31_536_000;

/** Sets how a response may be cached: without revalidation if it is `fixed`, with revalidation otherwise. */
export function setCacheControl(response: Response, scope: CacheScope, fixed: boolean): void {
  response.set('Cache-Control', fixed ? `${scope}, max-age=${FOREVER}, immutable` : `${scope}, no-cache`);
  if (scope === 'private') response.vary('Authorization, Cookie');
}

/** Whether the client already has this response. `request.fresh` of Express is false for requests with `Cache-Control: no-cache`, which `fetch` sends. */
export function isNotModified(request: Request, response: Response): boolean {
  const etag = response.get('ETag');
  const known = request.get('If-None-Match');
  if (etag === undefined || known === undefined) return false;
  return known.trim() === '*' || known.split(',').some((tag) => opaque(tag) === opaque(etag));
}

/** The opaque part of an entity tag. If-None-Match compares weakly (RFC 9110, 13.1.2), and a proxy that compresses weakens a strong tag. */
function opaque(tag: string): string {
  return tag.trim().replace(/^W\//, '');
}
