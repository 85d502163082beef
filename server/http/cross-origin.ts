import cors from 'cors';
import type { RequestHandler } from 'express';
import type { Refusal } from '../ground/refusal.js';
import type { RequestOrigin } from '../network/origins.js';

export interface CrossOriginOptions {
  /** Why a request is refused because of where it comes from, or null. */
  readonly refusalOf: (request: RequestOrigin) => Refusal | null;
  /** Whether every page may, so that one answer fits all. */
  readonly open: boolean;
  /** Headers of extensions that a page may read besides. */
  readonly exposedHeaders: readonly string[];
  /** Whether a browser may show a cookie for a page of another origin. */
  readonly credentials: boolean;
}

/** What a page of another origin may read of an answer besides its body. */
const EXPOSED = ['ETag', 'Location', 'Retry-After', 'WWW-Authenticate', 'X-Request-Id'];

/** Those of all routes. What a path does not have it refuses itself. */
const METHODS = ['GET', 'HEAD', 'POST', 'PATCH'];

/** For how long a browser remembers that a page may ask, in seconds. */
const REMEMBERED = 7_200;

/** Pages of other origins: those that may not ask are refused here, before anything costs; the others may read the answer (CORS). */
export function crossOrigin({ refusalOf, open, exposedHeaders, credentials }: CrossOriginOptions): RequestHandler {
  const readable = cors({
    origin: open ? '*' : true,
    credentials,
    methods: METHODS,
    exposedHeaders: [...EXPOSED, ...exposedHeaders],
    maxAge: REMEMBERED,
  });
  return (request, response, next) => {
    response.set('Cross-Origin-Resource-Policy', 'cross-origin');
    const refusal = refusalOf(request.headers);
    if (refusal === null) return readable(request, response, next);
    // It may read why, and stops to ask then.
    response.set('Access-Control-Allow-Origin', '*').vary('Origin');
    throw refusal;
  };
}
