/**
 * The transport of one event stream (server-sent events). The HTTP status is decided late: frames wait until the first
 * subscription succeeds, so that a request that fails gets an HTTP error instead of a stream. A stream can be written in the
 * format of the protocol, with ids that let an `EventSource` resume, or in the format of an extension.
 */
import type { ServerResponse } from 'node:http';
import { codeOfClose, errors, type Frame, isErrorCode } from '@rowcast/client/protocol';
import { nothing } from '../ground/nothing.js';
import { Refusal } from '../ground/refusal.js';
import { type EventFormat, type Transport, textOf } from '../ports/door.js';
import { EventsFrame } from '../ports/events-frame.js';

/** Padding that defeats the buffering of proxies and browsers, which may pass on nothing below 2 KiB. */
const PADDING = `:${' '.repeat(2048)}\n`;

/** How long an `EventSource` waits before it reconnects, in milliseconds. */
const RETRY = 1_000;

/** Delay of a comment after the start of the stream, in milliseconds. A client that does not receive it is behind a proxy that buffers. */
const PROBE_AFTER = 1_000;

const HEADERS = {
  'Content-Type': 'text/event-stream', // always UTF-8
  'Cache-Control': 'no-cache, no-store, no-transform',
  'X-Accel-Buffering': 'no',
};

/** Each frame is one `data` line. */
const asData: EventFormat = (frame) => ({ parts: ['data: ', onOneLine(textOf(frame)), '\n\n'] });

/** Frames that do not change a position. */
const STILL: ReadonlySet<Frame['type']> = new Set(['connected', 'pong', 'refreshed', 'paused', 'stalled', 'resumed']);

/**
 * The format for an `EventSource`: each frame has an `id` with the positions of all channels, which the browser sends when
 * it reconnects. The browser cannot subscribe again to a single channel. If one of the `channels` in its query (the
 * commands 1 to `channels`) cannot be served for now, the stream ends, and the last id still names that channel, so that the
 * browser reconnects for all of them. The stream also ends when its token expires, unless it has a session (`named`),
 * through which a client can send a new token.
 */
export function resumableFormat(idOf: () => string, channels: number, named: boolean): EventFormat {
  const unanswered = new Set(Array.from({ length: channels }, (_, index) => index + 1));
  return (frame) => {
    const type = frame instanceof EventsFrame ? 'events' : frame.type;
    const id = frame instanceof EventsFrame || !('id' in frame) ? undefined : frame.id;
    const own = id === undefined || unanswered.delete(id);
    const end = own ? retryOf(frame, named) : null;
    if (end !== null) return { ...asData({ type: 'error', code: end.code, message: end.message }), end };
    const { parts } = asData(frame);
    const positions = STILL.has(type) ? '' : idOf();
    return { parts: positions === '' ? parts : [`id: ${positions}\n`, ...parts] };
  };
}

/** The refusal in a frame, if a retry may succeed. */
function retryOf(frame: Frame | EventsFrame, named: boolean): Refusal | null {
  if (frame instanceof EventsFrame) return null;
  if (frame.type === 'paused' && !named) return new Refusal('token_expired');
  if (frame.type !== 'error' && frame.type !== 'unsubscribed') return null;
  const { code } = frame;
  if (!isErrorCode(code) || errors[code].outcome === 'stop') return null;
  return frame.type === 'error' ? new Refusal(code, frame.message, frame.retryAfter) : new Refusal(code);
}

export class SseTransport implements Transport {
  readonly #response: ServerResponse;
  readonly #bufferBytes: number;
  #waiting: (readonly (string | Buffer)[])[] | null = [];
  #ended = false;
  #probe: NodeJS.Timeout | undefined;
  /** The first command that was refused before the stream began. */
  refused: Refusal | null = null;
  format: EventFormat = asData;
  onDrained: () => void = nothing;

  constructor(response: ServerResponse, bufferBytes: number) {
    this.#response = response;
    this.#bufferBytes = bufferBytes;
  }

  get begun(): boolean {
    return this.#waiting === null;
  }

  get writable(): boolean {
    return this.begun && this.#response.writableLength < this.#bufferBytes;
  }

  /** Starts the stream with status 200, and sends the frames that wait. Called by the first subscription at the latest. `retry` in milliseconds. */
  begin(retry = RETRY): void {
    if (this.#waiting === null || this.#ended) return;
    const waiting = this.#waiting;
    this.#waiting = null;
    this.#response.cork();
    this.#response.writeHead(200, HEADERS);
    // Sent by itself, the header becomes one string. Otherwise Node would keep the dozens of pieces that it was put together from.
    this.#response.flushHeaders();
    this.#write([PADDING, `retry: ${Math.ceil(retry)}\n\n`]);
    for (const event of waiting) this.#write(event);
    this.#response.uncork();
    this.#probe = setTimeout(() => {
      this.#probe = undefined;
      this.beat();
    }, PROBE_AFTER);
  }

  /** The response has closed. */
  gone(): void {
    clearTimeout(this.#probe);
  }

  send(frame: Frame | EventsFrame): void {
    if (this.#ended || this.#response.writableEnded) return;
    const { parts, end } = this.format(frame);
    if (this.#waiting === null) this.#write(parts);
    if (end !== undefined) return this.#end(end);
    if (this.#waiting === null) return;
    this.#waiting.push(parts);
    if (frame instanceof EventsFrame) return;
    // After this turn, in which a later frame may still end the stream with an HTTP error.
    if (frame.type === 'subscribed') queueMicrotask(() => this.begin());
    if (frame.type === 'error' && isErrorCode(frame.code)) {
      this.refused ??= new Refusal(frame.code, frame.message, frame.retryAfter);
    }
  }

  /** Event streams have no close code: a frame with the error is sent, and the stream ends. */
  close(code: number, message: string): void {
    this.send({ type: 'error', code: codeOfClose(code) ?? 'internal', message });
    if (this.begun) this.#response.end();
  }

  /** Sends a comment, which keeps proxies from closing the connection as idle. */
  beat(): void {
    if (this.begun && this.writable && !this.#response.writableEnded) this.#write([':\n\n']);
  }

  #end(refusal: Refusal): void {
    this.#ended = true;
    // An earlier refusal with the same code is kept: it has the retry hint.
    if (this.refused?.code !== refusal.code) this.refused = refusal;
    if (this.begun) this.#response.end();
  }

  #write(parts: readonly (string | Buffer)[]): void {
    if (parts.length === 0) return;
    this.#response.cork(); // send one chunk
    for (const part of parts.slice(0, -1)) this.#response.write(part);
    this.#response.write(parts.at(-1), () => {
      if (this.writable) this.onDrained();
    });
    this.#response.uncork();
  }
}

/** Replaces line breaks, which would end the `data` line. JSON has them between tokens only; values of type json keep theirs. */
function onOneLine(text: string | Buffer): string | Buffer {
  if (!text.includes('\n') && !text.includes('\r')) return text;
  return text.toString().replace(/[\r\n]/g, ' ');
}
