import { createHash } from 'node:crypto';
import { type Request, type RequestHandler, type Response, Router } from 'express';
import { type Door, type PollAnswer, type Positions, textOf } from '../ports/door.js';
import type { PrincipalOf } from '../ports/principal.js';
import { forSession, inBody, inQuery, searchOf, waitOf } from './asked.js';
import { bodyReader } from './body.js';
import { type CacheScope, isKnown, letKeep } from './caching.js';
import { endCompressed } from './compression.js';
import { refuseMethod } from './methods.js';

export interface EventRoutesOptions {
  readonly door: Door;
  readonly principalOf: PrincipalOf;
  readonly maxFrameBytes: number;
  readonly maxSubscriptions: number;
  readonly cache: CacheScope;
  /** Whether answers to polls are compressed. */
  readonly compression: boolean;
  /** What every poll has to pass first; event streams are limited as connections are, by the door. */
  readonly limit: RequestHandler;
}

/** Bodies hold commands; so many of the largest. */
const BODY_FRAMES = 4;

const REFUSED = refuseMethod('GET, POST');

/** Connections over HTTP, event streams and polls, and commands for those that have no way up of their own. */
export function eventRoutes(options: EventRoutesOptions): Router {
  const { door, principalOf, maxFrameBytes, maxSubscriptions, cache, compression, limit } = options;
  // A client may take all its channels, leave as many, and introduce itself.
  const most = 2 * maxSubscriptions + 1;
  const bodyOf = bodyReader({ maxBytes: BODY_FRAMES * maxFrameBytes, unreadable: 'invalid_frame' });
  const router = Router();
  const send = async (request: Request, response: Response, answer: Pick<PollAnswer, 'frames' | 'positions'>) => {
    const text = asJson(answer);
    response.type('application/json');
    if (compression) await endCompressed(request, response, text);
    else response.end(text);
  };

  router
    .route('/v1/sse')
    .head(REFUSED)
    .get(async (request, response) => {
      // What an EventSource remembers by itself is newer than what its page had put into the address.
      const lastEventId = request.get('Last-Event-ID') || searchOf(request).get('lastEventId');
      await door.stream(request, response, inQuery(request, ['session', 'lastEventId'], lastEventId));
    })
    .post(async (request, response) => {
      const body = await bodyOf(request);
      await door.stream(request, response, inBody(body, request, ['session'], most));
    })
    .all(REFUSED);

  router
    .route('/v1/poll')
    .all(limit)
    .head(REFUSED)
    .get(async (request, response) => {
      const asked = inQuery(request, ['session', 'wait']);
      const answer = await door.poll(request, response, asked, waitOf(request));
      if (answer === null) return;
      const { frames, positions, full } = answer;
      const history = frames.every((frame) => Buffer.isBuffer(frame));
      letKeep(response, cache, history && full && asked.sinces.every((since) => since.includes('.')));
      if (history && frames.length > 0) response.set('ETag', etagOf(asked.sinces, positions));
      if (frames.length === 0 || asked.once) response.set('Cache-Control', 'no-store');
      if (isKnown(request, response)) response.status(304).end();
      else await send(request, response, answer);
    })
    .post(async (request, response) => {
      const asked = inBody(await bodyOf(request), request, ['session', 'wait'], most);
      const answer = await door.poll(request, response, asked, waitOf(request));
      if (answer === null) return;
      response.set('Cache-Control', 'no-store');
      await send(request, response, answer);
    })
    .all(REFUSED);

  router
    .route('/v1/commands')
    .all(limit)
    .post(async (request, response) => {
      const body = await bodyOf(request);
      const { subject } = await principalOf(request);
      const given = forSession(body, most);
      await door.command({ subject, ...given });
      response.status(202).json({ accepted: given.commands.length });
    })
    .all(refuseMethod('POST'));
  return router;
}

/** Weak: a row that was updated meanwhile is the same event. */
function etagOf(sinces: readonly string[], positions: Positions): string {
  const range = JSON.stringify([sinces, positions]);
  return `W/"${createHash('sha256').update(range).digest('base64url').slice(0, 22)}"`;
}

/** Events are JSON already: they are joined, not parsed. */
function asJson({ frames, positions }: Pick<PollAnswer, 'frames' | 'positions'>): Buffer {
  const parts = frames.flatMap((frame, index) => [Buffer.from(index === 0 ? '' : ','), Buffer.from(textOf(frame))]);
  const end = Buffer.from(`],"positions":${JSON.stringify(Object.fromEntries(positions))}}`);
  return Buffer.concat([Buffer.from('{"frames":['), ...parts, end]);
}
