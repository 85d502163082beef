/**
 * The Express application of the gateway: the endpoints for health, metrics and the list of channels, the order in
 * which limits and CORS apply to all routes, and the one error handler. Every error that a route throws becomes a
 * refusal of the table here; one that is not expected is logged, and sent as `internal` without its message.
 */
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
  /** Whether each part that the delivery of events needs is working. */
  readonly checks: { readonly database: boolean; readonly listen: boolean; readonly tail: boolean };
  /** Why connections to the database are down, by session. */
  readonly connections: Readonly<Record<string, string>>;
  /** Streams that cannot be read, or not completely, and why; by name. */
  readonly streams: Readonly<Record<string, object>>;
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
  /** Refuses requests from pages of other origins, and sets the CORS headers. */
  readonly crossOrigin: RequestHandler;
  /** Routes that apply their own rate limits. */
  readonly routes: readonly Handler[];
  /** The rate limit of every other request, except for the health checks. */
  readonly limit: RequestHandler;
  /** The page at `/`; null if it is off, or was not built. */
  readonly dashboard: Handler | null;
  readonly principalOf: PrincipalOf;
  readonly tokenOf: TokenOf;
  readonly logger: Logger;
}

/** Maximum number of channels listed per stream. */
const LISTED = 1000;

export function makeApp(options: AppOptions): Express {
  const { health, channels, metrics, crossOrigin, routes, limit, dashboard, principalOf, tokenOf, logger } = options;
  const app = express();
  app.disable('etag'); // Express would hash every body; routes with cacheable responses set their own

  app.use(securityHeaders);

  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok' });
  });

  app.get('/readyz', (_request, response) => {
    const { checks, connections, streams } = health();
    // A stream that cannot be read does not make the gateway unready, because no other gateway could serve its readers.
    const ready = Object.values(checks).every(Boolean);
    const reasons = Object.keys(connections).length > 0 ? { connections } : {};
    response.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not ready', checks, ...reasons, streams });
  });

  app.use(['/v1', '/api'], crossOrigin);
  app.use(...routes);
  // Before authentication: verifying a token costs time, and guesses must be limited.
  app.use(limit);

  app.get('/metrics', async (_request, response) => {
    response.type('text/plain; version=0.0.4').send(await metrics());
  });

  app.get('/v1/channels', async (request, response) => {
    const { role } = await principalOf(request);
    // The names of channels alone reveal which users exist.
    if (role !== 'service_role') throw new Refusal('forbidden');
    response.set('Cache-Control', 'no-store').json({ channels: await channels(LISTED) });
  });

  if (dashboard !== null) app.use(dashboard);
  app.use(() => {
    throw new Refusal('not_found');
  });

  const errorHandler =
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
  app.use('/api', errorHandler('invalid_request', sendProblem));
  app.use(
    errorHandler('invalid_frame', (_request, response, { code, message }) =>
      response.json({ error: { code, message } }),
    ),
  );
  return app;
}

/** The error code of a request that cannot be parsed. */
type Unreadable = 'invalid_request' | 'invalid_frame';

/** Turns an error that Express or a parser throws for a malformed request into a refusal. Returns other errors unchanged. */
function readable(error: unknown, unreadable: Unreadable): unknown {
  const { status, type } = error as { status?: unknown; type?: unknown };
  if (error instanceof Refusal || typeof status !== 'number' || status >= 500) return error;
  if (status === 413) return new Refusal('frame_too_large', 'the body is too large');
  return new Refusal(unreadable, typeof type === 'string' ? type : 'the request cannot be read');
}
