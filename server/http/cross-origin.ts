import cors from 'cors';
import type { RequestHandler } from 'express';
import type { Refusal } from '../ground/refusal.js';
import type { RequestOrigin } from '../network/origins.js';

export interface CrossOriginOptions {
  /** Returns why the origin of a request is refused, or null. */
  readonly refusalOf: (request: RequestOrigin) => Refusal | null;
  /** Whether pages of every origin are admitted, so that the response is the same for all of them. */
  readonly open: boolean;
  /** Response headers of extensions that a page may read. */
  readonly exposedHeaders: readonly string[];
  /** Whether a browser may send cookies for a page of another origin. */
  readonly credentials: boolean;
}

/** Response headers that a page of another origin may read. */
const EXPOSED = ['ETag', 'Location', 'Retry-After', 'WWW-Authenticate', 'X-Request-Id'];

/** The methods of all routes. Each path refuses those that it does not have. */
const METHODS = ['GET', 'HEAD', 'POST', 'PATCH', 'DELETE'];

/** How long a browser may cache the response to a preflight request, in seconds. */
const REMEMBERED = 7_200;

/** Refuses requests of pages whose origin is not admitted, before any other work. Sets the CORS headers for the others. */
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
    // Lets the page read the error, so that its client does not retry.
    response.set('Access-Control-Allow-Origin', '*').vary('Origin');
    throw refusal;
  };
}
