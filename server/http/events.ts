/**
 * The routes of event streams (`/v1/sse`), polls (`/v1/poll`) and of commands for open connections (`/v1/commands`). They parse
 * requests, and leave connections to the door; the responses of polls get their cache headers here.
 */
import { createHash } from 'node:crypto';
import { type Request, type RequestHandler, type Response, Router } from 'express';
import { type ConnectRequest, type Door, type PollAnswer, type Positions, textOf } from '../ports/door.js';
import { EventsFrame } from '../ports/events-frame.js';
import type { PrincipalOf } from '../ports/principal.js';
import { bodyReader, type Charge, type Identify, parseBody } from './body.js';
import { type CacheScope, isNotModified, setCacheControl } from './caching.js';
import { endCompressed } from './compression.js';
import { refuseMethod } from './methods.js';
import { commandsInBody, commandsInQuery, forwardedInBody, searchOf, waitOf } from './request.js';

export interface EventRoutesOptions {
  readonly door: Door;
  readonly principalOf: PrincipalOf;
  readonly maxFrameBytes: number;
  readonly maxSubscriptions: number;
  readonly cache: CacheScope;
  /** Whether the responses of polls are compressed. */
  readonly compression: boolean;
  /** The rate limit of polls, commands and bodies. The door limits event streams, as connections. */
  readonly limit: RequestHandler;
  /** Who sends a body of commands. */
  readonly identify: Identify;
  readonly charge: Charge;
}

/** The size limit of a body, in frames of the maximum size. */
const BODY_FRAMES = 4;

const REFUSED = refuseMethod('GET, POST');

const NO_LOCALS = Object.freeze({});

export function eventRoutes(options: EventRoutesOptions): Router {
  const { door, principalOf, maxFrameBytes, maxSubscriptions, cache, compression, limit, identify, charge } = options;
  // One `connect`, and for each subscription a `subscribe` and an `unsubscribe`.
  const most = 2 * maxSubscriptions + 1;
  const textOfBody = bodyReader({ maxBytes: BODY_FRAMES * maxFrameBytes, unreadable: 'invalid_frame', charge });
  const bodyOf = async (request: Request, identify: Identify) =>
    parseBody(await textOfBody(request, identify), 'invalid_frame');
  const router = Router();
  const stream = async (request: Request, response: Response, connect: ConnectRequest) => {
    await door.stream(request, response, connect);
    // The request lives as long as the stream, and with it the state of the router and of Express, which is of no more use.
    request.next = undefined;
    response.locals = NO_LOCALS;
  };
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
      // The header, which EventSource sends when it reconnects, is newer than the parameter in the URL of the page.
      const lastEventId = request.get('Last-Event-ID') || searchOf(request).get('lastEventId');
      await stream(request, response, commandsInQuery(request, ['session', 'lastEventId'], lastEventId));
    })
    .post(limit, async (request, response) => {
      const body = await bodyOf(request, identify);
      await stream(request, response, commandsInBody(body, request, ['session'], most));
    })
    .all(REFUSED);

  router
    .route('/v1/poll')
    .all(limit)
    .head(REFUSED)
    .get(async (request, response) => {
      const connect = commandsInQuery(request, ['session', 'wait']);
      const { sinces, singleUse } = connect;
      const answer = await door.poll(request, response, connect, waitOf(request));
      if (answer === null) return;
      const { frames, positions, full } = answer;
      const onlyEvents = frames.every((frame) => frame instanceof EventsFrame);
      setCacheControl(response, cache, onlyEvents && full && sinces.every((since) => since.includes('.')));
      if (onlyEvents && frames.length > 0) response.set('ETag', etagOf(sinces, positions));
      if (frames.length === 0 || singleUse) response.set('Cache-Control', 'no-store');
      if (isNotModified(request, response)) response.status(304).end();
      else await send(request, response, answer);
    })
    .post(async (request, response) => {
      const connect = commandsInBody(await bodyOf(request, identify), request, ['session', 'wait'], most);
      const answer = await door.poll(request, response, connect, waitOf(request));
      if (answer === null) return;
      response.set('Cache-Control', 'no-store');
      await send(request, response, answer);
    })
    .all(REFUSED);

  router
    .route('/v1/commands')
    .all(limit)
    .post(async (request, response) => {
      const principal = await principalOf(request);
      const body = await bodyOf(request, async () => principal);
      const { subject } = principal;
      const forwarded = forwardedInBody(body, most);
      await door.command({ subject, ...forwarded });
      response.status(202).json({ accepted: forwarded.commands.length });
    })
    .all(refuseMethod('POST'));
  return router;
}

/** The entity tag of a poll. It is weak: a row that was updated since is still the same event. */
function etagOf(sinces: readonly string[], positions: Positions): string {
  const range = JSON.stringify([sinces, positions]);
  return `W/"${createHash('sha256').update(range).digest('base64url').slice(0, 22)}"`;
}

/** Joins the frames to one JSON body. Frames of events are JSON text already and are not parsed. */
function asJson({ frames, positions }: Pick<PollAnswer, 'frames' | 'positions'>): Buffer {
  const parts = frames.flatMap((frame, index) => [Buffer.from(index === 0 ? '' : ','), Buffer.from(textOf(frame))]);
  const end = Buffer.from(`],"positions":${JSON.stringify(Object.fromEntries(positions))}}`);
  return Buffer.concat([Buffer.from('{"frames":['), ...parts, end]);
}
