import { PROTOCOL, type Since } from '@rowcast/client/protocol';
import { type Request, type Response, Router } from 'express';
import { type CacheScope, isNotModified, setCacheControl } from '../http/caching.js';
import { refuseMethod } from '../http/methods.js';
import { searchOf } from '../http/request.js';
import type { ConnectRequest, Door, Place } from '../ports/door.js';
import { arrayOf, firstSeq } from '../ports/events-frame.js';
import type { Handler } from '../ports/extension.js';
import { nextCursor } from './cursor.js';
import { endOf } from './ending.js';
import { eventStream } from './event-stream.js';
import { formatOffset } from './offset.js';
import { type Question, readQuestion } from './question.js';

/** A reader comes back after so long, in milliseconds: with a fresh token, and to a gateway that has room. */
const STREAM_LIFETIME = 60_000;

/** Set without Express, which would name a charset: the content type is the stream's, letter for letter. */
const JSON_TYPE = 'application/json';

export interface DurableStreamOptions {
  readonly door: Pick<Door, 'stream' | 'poll'>;
  readonly cache: CacheScope;
  /** Of an event stream, in milliseconds. */
  readonly lifetime?: number;
  /** What every request has to pass first. */
  readonly limit: Handler;
}

/** Reading a channel by the Durable Streams protocol. Writing is an INSERT, and has no route. */
export function durableStreamRoutes({ door, cache, limit, lifetime = STREAM_LIFETIME }: DurableStreamOptions): Router {
  const router = Router();
  router
    .route('/v1/streams/:stream/:key')
    .all(limit)
    .all((_request, response, next) => {
      response.set('Cache-Control', 'no-store');
      next();
    })
    .head(async (request, response) => {
      const answer = await ask(door, request, response, { since: 'now', wait: 0 });
      if (answer === null) return;
      response.set('Stream-Next-Offset', answer.offset).setHeader('Content-Type', JSON_TYPE).end();
    })
    .get(async (request, response) => {
      const question = readQuestion(searchOf(request));
      const cursor = nextCursor(Date.now(), question.cursor, Math.random());
      if (question.live === 'sse') {
        const timer = setTimeout(() => response.end(), lifetime);
        response.once('close', () => clearTimeout(timer));
        const format = (place: Place) => eventStream(question.since, cursor, place);
        return door.stream(request, response, { ...asked(request, question.since), format });
      }
      const answer = await ask(door, request, response, question);
      if (answer === null) return;
      const { events, offset, full } = answer;
      response.set({ 'Stream-Next-Offset': offset, 'Stream-Cursor': String(cursor) });
      if (!full) response.set('Stream-Up-To-Date', 'true');
      if (question.live === 'long-poll' && events.length === 0) return void response.status(204).end();
      if (question.since !== 'now') {
        const fixed = full && events.length > 0 && question.since !== 'start';
        setCacheControl(response, cache, fixed);
        response.set('ETag', `W/"${events[0] === undefined ? '' : firstSeq(events[0])}:${offset}"`);
      }
      if (isNotModified(request, response)) return void response.status(304).end();
      response.setHeader('Content-Type', JSON_TYPE).end(arrayOf(events));
    })
    .all(refuseMethod('GET, HEAD'));
  return router;
}

/** One subscription. */
function asked(request: Request, since: Since): ConnectRequest {
  const { stream, key } = request.params;
  const channel = `${stream}:${key}`;
  const commands = [
    { type: 'connect', id: 0, protocol: PROTOCOL },
    { type: 'subscribe', id: 1, channel, since },
  ];
  return { commands, session: undefined, replies: false };
}

interface Answer {
  /** Frames of events. */
  readonly events: readonly Buffer[];
  /** Where the reader stands after them. */
  readonly offset: string;
  /** More events follow. */
  readonly full: boolean;
}

/** Null where nobody waits for the answer any more. Rejects with `Refusal`. */
async function ask(
  door: DurableStreamOptions['door'],
  request: Request,
  response: Response,
  { since, wait }: Pick<Question, 'since' | 'wait'>,
): Promise<Answer | null> {
  const answer = await door.poll(request, response, { ...asked(request, since), fresh: wait === 0 }, wait);
  if (answer === null) return null;
  const events: Buffer[] = [];
  for (const frame of answer.frames) {
    // Who asked from the start hears of a reset only if it has events from before it. They can be read again.
    const end = Buffer.isBuffer(frame) ? null : endOf(frame, events.length === 0 ? since : null);
    if (end !== null) throw end;
    if (Buffer.isBuffer(frame)) events.push(frame);
  }
  const [[, position] = ['', '']] = answer.positions;
  return { events, offset: formatOffset(position), full: answer.full };
}
