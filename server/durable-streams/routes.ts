/**
 * Serves reads by the Durable Streams protocol: catch-up reads, long polls and event streams of one channel. It maps each
 * read to one subscription of the door, and offsets to positions. There is no route for writes, which are INSERTs.
 */
import { PROTOCOL, type Since } from '@rowcast/client/protocol';
import { type Request, type Response, Router } from 'express';
import { type CacheScope, isNotModified, setCacheControl } from '../http/caching.js';
import { refuseMethod } from '../http/methods.js';
import { searchOf } from '../http/request.js';
import type { ConnectRequest, Door, Place } from '../ports/door.js';
import { arrayOf, EventsFrame } from '../ports/events-frame.js';
import type { Handler } from '../ports/extension.js';
import { eventStream } from './event-stream.js';
import { formatOffset } from './offset.js';
import { parseReadRequest, type ReadRequest } from './read-request.js';
import { refusalOf } from './refusal-of.js';
import { nextStreamCursor } from './stream-cursor.js';

/** Maximum duration of an event stream, in milliseconds. Readers reconnect with a new token, and spread over all gateways. */
const STREAM_LIFETIME = 60_000;

/** Set with `setHeader`, because `set` of Express would append a charset, and the protocol compares content types exactly. */
const JSON_TYPE = 'application/json';

export interface DurableStreamOptions {
  readonly door: Pick<Door, 'stream' | 'poll'>;
  readonly cache: CacheScope;
  /** Maximum duration of an event stream, in milliseconds. */
  readonly lifetime?: number;
  /** The rate limit of requests. */
  readonly limit: Handler;
}

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
      const page = await readPage(door, request, response, { since: 'now', wait: 0 });
      if (page === null) return;
      response.set('Stream-Next-Offset', page.offset).setHeader('Content-Type', JSON_TYPE).end();
    })
    .get(async (request, response) => {
      const read = parseReadRequest(searchOf(request));
      const cursor = nextStreamCursor(Date.now(), read.cursor, Math.random());
      if (read.live === 'sse') {
        const timer = setTimeout(() => response.end(), lifetime);
        response.once('close', () => clearTimeout(timer));
        const format = (place: Place) => eventStream(read.since, cursor, place);
        return door.stream(request, response, { ...connectRequest(request, read.since), format });
      }
      const page = await readPage(door, request, response, read);
      if (page === null) return;
      const { events, offset, full } = page;
      response.set({ 'Stream-Next-Offset': offset, 'Stream-Cursor': String(cursor) });
      if (!full) response.set('Stream-Up-To-Date', 'true');
      if (read.live === 'long-poll' && events.length === 0) return void response.status(204).end();
      if (read.since !== 'now') {
        const fixed = full && events.length > 0 && read.since !== 'start';
        setCacheControl(response, cache, fixed);
        response.set('ETag', `W/"${events[0]?.from ?? ''}:${offset}"`);
      }
      if (isNotModified(request, response)) return void response.status(304).end();
      response.setHeader('Content-Type', JSON_TYPE).end(arrayOf(events));
    })
    .all(refuseMethod('GET, HEAD'));
  return router;
}

/** The commands of one subscription to the channel of the path. */
function connectRequest(request: Request, since: Since): ConnectRequest {
  const { stream, key } = request.params;
  const channel = `${stream}:${key}`;
  const commands = [
    { type: 'connect', id: 0, protocol: PROTOCOL },
    { type: 'subscribe', id: 1, channel, since },
  ];
  return { commands, session: undefined, replies: false };
}

interface StreamPage {
  /** Frames of events. */
  readonly events: readonly EventsFrame[];
  /** The offset after the last event. */
  readonly offset: string;
  /** Whether more events are available. */
  readonly full: boolean;
}

/** Resolves to null if the client has disconnected. Rejects with `Refusal`. */
async function readPage(
  door: DurableStreamOptions['door'],
  request: Request,
  response: Response,
  { since, wait }: Pick<ReadRequest, 'since' | 'wait'>,
): Promise<StreamPage | null> {
  const answer = await door.poll(request, response, { ...connectRequest(request, since), fresh: wait === 0 }, wait);
  if (answer === null) return null;
  const events: EventsFrame[] = [];
  for (const frame of answer.frames) {
    // For a read from the start a reset is an error only after events, which the reader can then read again.
    const end = frame instanceof EventsFrame ? null : refusalOf(frame, events.length === 0 ? since : null);
    if (end !== null) throw end;
    if (frame instanceof EventsFrame) events.push(frame);
  }
  const [[, position] = ['', '']] = answer.positions;
  return { events, offset: formatOffset(position), full: answer.full };
}
