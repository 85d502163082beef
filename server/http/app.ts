import type { IncomingMessage } from 'node:http';
import express, { type ErrorRequestHandler, type Express } from 'express';
import type { Logger } from '../logger.js';
import { type Authenticator, Unavailable } from '../ports.js';
import { Refusal } from '../refusal.js';

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
  /** For how long whoever asks has to wait, in milliseconds; 0 where it may ask now. */
  readonly wait: (request: IncomingMessage) => number;
  readonly authenticator: Authenticator;
  readonly logger: Logger;
}

/** Channels that one answer lists per stream. */
const LISTED = 1000;

const STATUS: Partial<Record<string, number>> = {
  unauthorized: 401,
  token_expired: 401,
  not_found: 404,
  rate_limited: 429,
  unavailable: 503,
};

/** The HTTP side of the gateway: is it well, and what goes through it. */
export function makeApp({ health, channels, metrics, wait, authenticator, logger }: AppOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.disable('etag'); // what is asked for here is asked because it changes

  app.get('/healthz', (_request, response) => {
    response.json({ status: 'ok' });
  });

  app.get('/readyz', (_request, response) => {
    const checks = health();
    const ready = Object.values(checks).every(Boolean);
    response.status(ready ? 200 : 503).json({ status: ready ? 'ready' : 'not ready', checks });
  });

  // Before anything that costs something; a token that is tried out costs something too.
  app.use((request, response, next) => {
    const retryAfter = wait(request);
    if (retryAfter === 0) return next();
    response.set('Retry-After', String(Math.ceil(retryAfter / 1000)));
    throw new Refusal('rate_limited');
  });

  app.get('/metrics', async (_request, response) => {
    response.type('text/plain; version=0.0.4').send(await metrics());
  });

  app.get('/v1/channels', async (request, response) => {
    const [, token] = /^Bearer (.+)$/i.exec(request.headers.authorization ?? '') ?? [];
    await authenticator.authenticate(token);
    response.json({ channels: await channels(LISTED) });
  });

  app.use(() => {
    throw new Refusal('not_found');
  });

  const onError: ErrorRequestHandler = (error: unknown, _request, response, next) => {
    if (response.headersSent) return next(error);
    const refusal =
      error instanceof Refusal ? error : new Refusal(error instanceof Unavailable ? 'unavailable' : 'internal');
    if (refusal.code === 'internal') logger.error({ err: error }, 'a request failed');
    const { code, message } = refusal;
    response.status(STATUS[code] ?? 500).json({ error: { code, message } });
  };
  app.use(onError);
  return app;
}
