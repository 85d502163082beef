import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import express, { type Request, type RequestHandler, type Response, Router } from 'express';
import { z } from 'zod';
import { PROTOCOL } from '../../client/protocol/index.js';
import type { Authenticator, Order } from '../ports.js';
import { Refusal } from '../refusal.js';
import { bearer } from './bearer.js';
import { endCompressed } from './compression.js';

/** The longest that a poll may wait, and what it waits if it does not say; in seconds. */
const MAX_WAIT = 60;
const DEFAULT_WAIT = 20;

/** A page of history never changes: shared caches may keep it for so long, in seconds. */
const FOREVER = 31_536_000;

/** What a request asks of its connection. */
interface Asked {
  readonly commands: readonly unknown[];
  readonly session: string | undefined;
  readonly replies: boolean;
}

type Frames = readonly (string | Buffer)[];
type Positions = readonly (readonly [channel: string, since: string])[];

/** The door behind the routes; `server/transport/requests.ts`. */
export interface Door {
  stream(request: IncomingMessage, response: ServerResponse, asked: Asked): Promise<void>;
  poll(
    request: IncomingMessage,
    response: ServerResponse,
    asked: Asked,
    wait: number,
  ): Promise<{
    readonly frames: Frames;
    readonly positions: Positions;
    readonly full: boolean;
  } | null>;
  command(order: Order): Promise<void>;
}

export interface EventRoutesOptions {
  readonly door: Door;
  readonly authenticator: Authenticator;
  readonly maxFrameBytes: number;
  /** Whether a cache that serves many principals may keep what one of them was given. */
  readonly cache: 'private' | 'public';
  /** Whether answers to polls are compressed. */
  readonly compression: boolean;
}

const session = z
  .string()
  .regex(/^[\w-]{1,64}$/, 'has 1 to 64 letters, digits, _ or -')
  .optional();
const wait = z.coerce.number<string>().int().min(0).max(MAX_WAIT).default(DEFAULT_WAIT);
const command = z.looseObject({ type: z.string() });
const commands = z.array(command).min(1).max(1_000);
const toSession = z.object({ session: session.unwrap(), commands });

/** Bodies hold commands; so many of the largest. */
const BODY_FRAMES = 4;

/** Server-sent events, before any limit on requests: they are limited as connections are. */
export function streamRoutes({ door, maxFrameBytes }: EventRoutesOptions): Router {
  const router = Router();
  router
    .route('/v1/sse')
    .head(refuseMethod)
    .get(async (request, response) => {
      await door.stream(request, response, asQuery(request, request.get('Last-Event-ID')));
    })
    .post(body(maxFrameBytes), async (request, response) => {
      await door.stream(request, response, asCommands(request));
    });
  return router;
}

/** Polls, and commands for connections that have no way up of their own. */
export function pollRoutes(options: EventRoutesOptions): Router {
  const { door, authenticator, maxFrameBytes, cache, compression } = options;
  const router = Router();
  const send = async (request: Request, response: Response, frames: Frames, positions: Positions) => {
    const body = asJson(frames, positions);
    response.type('application/json');
    if (compression) await endCompressed(request, response, body);
    else response.end(body);
  };
  router
    .route('/v1/poll')
    .head(refuseMethod)
    .get(async (request, response) => {
      const asked = asQuery(request);
      const answer = await door.poll(request, response, asked, waitOf(request));
      if (answer === null) return;
      const { frames, positions, full } = answer;
      // Replies tell of this moment. Without them the answer depends on the positions alone.
      const kept = frames.filter((frame) => typeof frame !== 'string' || !REPLY.test(frame));
      const history = kept.every((frame) => typeof frame !== 'string');
      const fixed = history && full && asked.sinces.every((since) => since.includes('.'));
      response.set('Cache-Control', fixed ? `${cache}, max-age=${FOREVER}, immutable` : `${cache}, no-cache`);
      if (cache === 'private') response.vary('Authorization');
      if (history && kept.length > 0) response.set('ETag', etagOf(asked.sinces, positions));
      if (kept.length === 0) response.set('Cache-Control', 'no-store');
      if (request.fresh) response.status(304).end();
      else await send(request, response, kept, positions);
    })
    .post(body(maxFrameBytes), async (request, response) => {
      const answer = await door.poll(request, response, asCommands(request), waitOf(request));
      if (answer === null) return;
      response.set('Cache-Control', 'no-store');
      await send(request, response, answer.frames, answer.positions);
    });

  router.post('/v1/commands', body(maxFrameBytes), async (request, response) => {
    const { subject } = await authenticator.authenticate(bearer(request));
    const given = parse(toSession, json(request));
    await door.command({ subject, ...given });
    response.status(202).json({ accepted: given.commands.length });
  });
  return router;
}

/** Frames that answer a command; a refusal does not only do that. */
const REPLY = /^\{"type":"(?:connected|subscribed)"/;

const refuseMethod: RequestHandler = (_request, response) => {
  response.set('Allow', 'GET, POST').status(405).end();
};

function body(maxFrameBytes: number): RequestHandler {
  return express.text({ type: () => true, limit: BODY_FRAMES * maxFrameBytes, inflate: false });
}

function json(request: Request): unknown {
  try {
    return JSON.parse(String(request.body));
  } catch {
    throw new Refusal('invalid_json', 'the body is not JSON');
  }
}

/** `name`: what it is that is parsed. */
function parse<T>(schema: z.ZodType<T>, value: unknown, name = 'the body'): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  throw new Refusal(
    'invalid_frame',
    parsed.error.issues.map(({ path, message }) => `${path.join('.') || name}: ${message}`).join('; '),
  );
}

function asCommands(request: Request): Asked {
  const query = new URL(request.originalUrl, 'http://gateway').searchParams;
  return {
    commands: parse(commands, json(request)),
    session: parse(session, query.get('session') ?? undefined, 'session'),
    replies: true,
  };
}

/** `channel=…&since=…` as commands: `connect` has the id 0, the channels have 1 and so on. */
function asQuery(request: Request, lastEventId?: string): Asked & { readonly sinces: readonly string[] } {
  const query = new URL(request.originalUrl, 'http://gateway').searchParams;
  const resumed = lastEventId ? [...new URLSearchParams(lastEventId)] : null;
  const channels = resumed?.map(([channel]) => channel) ?? query.getAll('channel');
  const asked = query.getAll('since');
  if (channels.length === 0) throw new Refusal('invalid_frame', 'channel: name at least one, <stream>:<key>');
  if (resumed === null && asked.length > 1 && asked.length !== channels.length) {
    throw new Refusal('invalid_frame', 'since: give one for all channels, or one for each of them in their order');
  }
  const sinces = resumed?.map(([, since]) => since) ?? channels.map((_, index) => asked[index] ?? asked[0] ?? 'now');
  const token = bearer(request);
  const subscribe = channels.map((channel, index) => ({
    type: 'subscribe',
    id: index + 1,
    channel,
    since: sinces[index],
  }));
  return {
    commands: [{ type: 'connect', id: 0, protocol: PROTOCOL, token }, ...subscribe],
    session: parse(session, query.get('session') ?? undefined, 'session'),
    replies: false,
    sinces,
  };
}

/** In milliseconds. */
function waitOf(request: Request): number {
  const query = new URL(request.originalUrl, 'http://gateway').searchParams;
  return parse(wait, query.get('wait') ?? undefined, 'wait') * 1000;
}

/** Weak: a row that was updated meanwhile is the same event. */
function etagOf(sinces: readonly string[], positions: Positions): string {
  const range = JSON.stringify([sinces, positions]);
  return `W/"${createHash('sha256').update(range).digest('base64url').slice(0, 22)}"`;
}

/** The frames are JSON already: they are joined, not parsed. */
function asJson(frames: Frames, positions: Positions): Buffer {
  const parts = frames.flatMap((frame, index) => [Buffer.from(index === 0 ? '' : ','), Buffer.from(frame)]);
  const end = Buffer.from(`],"positions":${JSON.stringify(Object.fromEntries(positions))}}`);
  return Buffer.concat([Buffer.from('{"frames":['), ...parts, end]);
}
