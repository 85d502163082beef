import type { IncomingMessage } from 'node:http';
import cors from 'cors';
import express, { type ErrorRequestHandler, type Express, type RequestHandler, type Router } from 'express';
import type { Logger } from '../logger.js';
import { type Authenticator, Unavailable } from '../ports.js';
import { Refusal } from '../refusal.js';
import { bearer } from './bearer.js';
import { STATUS } from './status.js';

/** Whether each part that the way of an event needs is well. */
export interface Health {
  readonly database: boolean;
  readonly listen: boolean;
  readonly tail: boolean;
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
  /** Whether whoever asks, a page or a program, may ask at all. */
  readonly admits: (request: IncomingMessage) => boolean;
  /** Where events are read. Their makers were given the limits that hold there. */
  readonly routes: readonly Router[];
  /** What every other request has to pass, but for those about health. */
  readonly limit: RequestHandler;
  readonly authenticator: Authenticator;
  readonly logger: Logger;
}

/** Channels that one answer lists per stream. */
const LISTED = 1000;

/** What a page of another origin may read of an answer, and for how long its browser remembers that it may ask, in seconds. */
const CORS = {
  exposedHeaders: ['ETag', 'Retry-After', 'Stream-Next-Offset', 'Stream-Cursor', 'Stream-Up-To-Date'],
  maxAge: 7_200,
};

/** The HTTP side of the gateway: is it well, and what goes through it. */
export function makeApp(options: AppOptions): Express {
  const { health, channels, metrics, admits, routes, limit, authenticator, logger } = options;
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag'); // Express would hash every body; a route whose answers can be known again sets its own

  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok' });
  });

  app.get('/readyz', (_request, response) => {
    const checks = health();
    const ready = Object.values(checks).every(Boolean);
    response.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not ready', checks });
  });

  app.use('/v1', cors(CORS), (request, _response, next) => {
    if (!admits(request)) throw new Refusal('forbidden_origin');
    next();
  });
  app.use(...routes);
  // Before anything that costs something; a token that is tried out costs something too.
  app.use(limit);

  app.get('/metrics', async (_request, response) => {
    response.type('text/plain; version=0.0.4').send(await metrics());
  });

  app.get('/v1/channels', async (request, response) => {
    await authenticator.authenticate(bearer(request));
    response.json({ channels: await channels(LISTED) });
  });

  app.use(() => {
    throw new Refusal('not_found');
  });

  const onError: ErrorRequestHandler = (error: unknown, _request, response, next) => {
    if (response.headersSent) return next(error);
    const refusal = asRefusal(error);
    const { code, message, retryAfter } = refusal;
    if (code === 'internal') logger.error({ err: error }, 'a request failed');
    response.set('Cache-Control', 'no-store');
    if (retryAfter > 0) response.set('Retry-After', String(Math.ceil(retryAfter / 1000)));
    response.status(STATUS[code]).json({ error: { code, message } });
  };
  app.use(onError);
  return app;
}

function asRefusal(error: unknown): Refusal {
  if (error instanceof Refusal) return error;
  if (error instanceof Unavailable) return new Refusal('unavailable');
  const { status, type } = error as { status?: unknown; type?: unknown }; // what a parser of bodies or paths throws
  if (status === 413) return new Refusal('frame_too_large', 'the body is too large');
  if (typeof status !== 'number' || status >= 500) return new Refusal('internal');
  return new Refusal('invalid_frame', typeof type === 'string' ? type : 'the request cannot be read');
}
