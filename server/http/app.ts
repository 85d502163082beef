import express, { type ErrorRequestHandler, type Express, type RequestHandler } from 'express';
import type { Logger } from '../ground/logger.js';
import { asRefusal, Refusal, secondsUntilRetry } from '../ground/refusal.js';
import type { Handler } from '../ports/extension.js';
import type { PrincipalOf } from '../ports/principal.js';
import { sendProblem } from './api/problem.js';
import type { TokenOf } from './credentials.js';
import { securityHeaders } from './security-headers.js';
import { STATUS } from './status.js';

export interface Health {
  /** Whether each part works that the delivery of events needs. */
  readonly checks: { readonly database: boolean; readonly listen: boolean; readonly tail: boolean };
  /** Why connections to the database do not stand, by session. */
  readonly connections: Readonly<Record<string, string>>;
}

export interface ListedChannel {
  readonly channel: string;
  readonly head: number;
  readonly subscribers: number;
}

export interface AppOptions {
  readonly health: () => Health;
  readonly channels: (limit: number) => Promise<ListedChannel[]>;
  /** In the text format of Prometheus. */
  readonly metrics: () => Promise<string>;
  /** Lets in who may ask at all. */
  readonly crossOrigin: RequestHandler;
  /** Everything that has limits of its own. */
  readonly routes: readonly Handler[];
  /** What every other request has to pass, but for those about health. */
  readonly limit: RequestHandler;
  readonly principalOf: PrincipalOf;
  readonly tokenOf: TokenOf;
  readonly logger: Logger;
}

/** Channels that one answer lists per stream. */
const LISTED = 1000;

/** The HTTP side of the gateway: is it well, and what goes through it. */
export function makeApp(options: AppOptions): Express {
  const { health, channels, metrics, crossOrigin, routes, limit, principalOf, tokenOf, logger } = options;
  const app = express();
  app.disable('etag'); // Express would hash every body; a route whose answers can be known again sets its own

  app.use(securityHeaders);

  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok' });
  });

  app.get('/readyz', (_request, response) => {
    const { checks, connections } = health();
    const ready = Object.values(checks).every(Boolean);
    const reasons = Object.keys(connections).length > 0 ? { connections } : {};
    response.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not ready', checks, ...reasons });
  });

  app.use(['/v1', '/api'], crossOrigin);
  app.use(...routes);
  // Before anything that costs something; a token that is tried out costs something too.
  app.use(limit);

  app.get('/metrics', async (_request, response) => {
    response.type('text/plain; version=0.0.4').send(await metrics());
  });

  app.get('/v1/channels', async (request, response) => {
    const { role } = await principalOf(request);
    // The names alone tell who is there.
    if (role !== 'service_role') throw new Refusal('forbidden');
    response.json({ channels: await channels(LISTED) });
  });

  app.use(() => {
    throw new Refusal('not_found');
  });

  const refusing =
    (unreadable: Unreadable, write: typeof sendProblem): ErrorRequestHandler =>
    (error: unknown, request, response, next) => {
      if (response.headersSent) return next(error);
      const refusal = asRefusal(readable(error, unreadable));
      const { code } = refusal;
      if (code === 'internal') {
        logger.error({ err: error, request_id: response.get('X-Request-Id') }, 'a request failed');
      }
      response.set('Cache-Control', 'no-store').removeHeader('ETag');
      const seconds = secondsUntilRetry(refusal);
      if (seconds > 0) response.set('Retry-After', String(seconds));
      if (STATUS[code] === 401) {
        const shown = tokenOf(request) !== undefined;
        response.set('WWW-Authenticate', shown ? 'Bearer error="invalid_token"' : 'Bearer'); // RFC 6750
      }
      write(request, response.status(STATUS[code]), refusal);
    };
  app.use('/api', refusing('invalid_request', sendProblem));
  app.use(
    refusing('invalid_frame', (_request, response, { code, message }) => response.json({ error: { code, message } })),
  );
  return app;
}

/** The code of a request that cannot be read. */
type Unreadable = 'invalid_request' | 'invalid_frame';

/** What Express and its parsers throw of a request that cannot be read, as a refusal; other errors as they are. */
function readable(error: unknown, unreadable: Unreadable): unknown {
  const { status, type } = error as { status?: unknown; type?: unknown };
  if (error instanceof Refusal || typeof status !== 'number' || status >= 500) return error;
  if (status === 413) return new Refusal('frame_too_large', 'the body is too large');
  return new Refusal(unreadable, typeof type === 'string' ? type : 'the request cannot be read');
}
