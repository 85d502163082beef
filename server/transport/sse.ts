import type { ServerResponse } from 'node:http';
import { codeOfClose, errors, type Frame, isErrorCode } from '@rowcast/client/protocol';
import { Refusal } from '../ground/refusal.js';
import { type EventFormat, type Transport, textOf } from '../ports/door.js';

/** Some proxies and browsers pass nothing on before they have so many bytes. */
const PADDING = `:${' '.repeat(2048)}\n`;

/** What an `EventSource` waits before it comes back, in milliseconds. */
const RETRY = 1_000;

/** A comment follows the opening after so long, in milliseconds: a client that does not get it is behind a proxy that buffers. */
const PROOF_AFTER = 1_000;

const HEADERS = {
  'Content-Type': 'text/event-stream', // which is always UTF-8
  'Cache-Control': 'no-cache, no-store, no-transform',
  'X-Accel-Buffering': 'no',
};

/** Each frame is one `data` line. */
const asData: EventFormat = (frame) => ({ parts: ['data: ', onOneLine(textOf(frame)), '\n\n'] });

/** Frames that move no position. */
const STILL: ReadonlySet<Frame['type']> = new Set(['connected', 'pong', 'refreshed', 'paused']);

/**
 * The same for an `EventSource`. The `id`, by which it comes back and misses nothing, is asked for after the frame was taken.
 * It cannot ask again for one of the channels in its query, the commands 1 to `asked`, that was refused for now: then the
 * stream ends, and the last id still names that channel, so that it comes back for all of them. So it does at the end of its
 * token, unless the stream was `named`: nobody can send a fresh one to it.
 */
export function resumable(idOf: () => string, asked: number, named: boolean): EventFormat {
  const unanswered = new Set(Array.from({ length: asked }, (_, index) => index + 1));
  return (frame) => {
    const type = Buffer.isBuffer(frame) ? 'events' : frame.type;
    const id = Buffer.isBuffer(frame) || !('id' in frame) ? undefined : frame.id;
    const own = id === undefined || unanswered.delete(id);
    const end = own ? retryOf(frame, named) : null;
    if (end !== null) return { ...asData({ type: 'error', code: end.code, message: end.message }), end };
    const { parts } = asData(frame);
    const positions = STILL.has(type) ? '' : idOf();
    return { parts: positions === '' ? parts : [`id: ${positions}\n`, ...parts] };
  };
}

/** What a frame refuses for now, if it does. */
function retryOf(frame: Frame | Buffer, named: boolean): Refusal | null {
  if (Buffer.isBuffer(frame)) return null;
  if (frame.type === 'paused' && !named) return new Refusal('token_expired');
  if (frame.type !== 'error' && frame.type !== 'unsubscribed') return null;
  const { code } = frame;
  if (!isErrorCode(code) || errors[code].outcome === 'stop') return null;
  return frame.type === 'error' ? new Refusal(code, frame.message, frame.retryAfter) : new Refusal(code);
}

/** A stream of server-sent events. */
export class SseTransport implements Transport {
  readonly #response: ServerResponse;
  readonly #bufferBytes: number;
  #waiting: (readonly (string | Buffer)[])[] | null = [];
  #ended = false;
  #proof: NodeJS.Timeout | undefined;
  /** The first command that was refused while nothing was subscribed to. */
  refused: Refusal | null = null;
  format: EventFormat = asData;
  onDrained: () => void = () => {};

  constructor(response: ServerResponse, bufferBytes: number) {
    this.#response = response;
    this.#bufferBytes = bufferBytes;
    response.once('close', () => clearTimeout(this.#proof));
  }

  get begun(): boolean {
    return this.#waiting === null;
  }

  get writable(): boolean {
    return this.begun && this.#response.writableLength < this.#bufferBytes;
  }

  /** From here on the answer is a stream, at the latest with the first subscription. What was sent before goes first. `retry` in milliseconds. */
  begin(retry = RETRY): void {
    if (this.#waiting === null || this.#ended) return;
    const waiting = this.#waiting;
    this.#waiting = null;
    this.#response.writeHead(200, HEADERS);
    this.#write([PADDING, `retry: ${Math.ceil(retry)}\n\n`]);
    for (const event of waiting) this.#write(event);
    this.#proof = setTimeout(() => this.beat(), PROOF_AFTER);
  }

  send(frame: Frame | Buffer): void {
    if (this.#ended || this.#response.writableEnded) return;
    const { parts, end } = this.format(frame);
    if (this.#waiting === null) this.#write(parts);
    if (end !== undefined) return this.#end(end);
    if (this.#waiting === null) return;
    this.#waiting.push(parts);
    if (Buffer.isBuffer(frame)) return;
    // What follows in the same turn may still end it.
    if (frame.type === 'subscribed') queueMicrotask(() => this.begin());
    if (frame.type === 'error' && isErrorCode(frame.code)) {
      this.refused ??= new Refusal(frame.code, frame.message, frame.retryAfter);
    }
  }

  /** There is no close code here: a frame says why, and the stream ends. */
  close(code: number, message: string): void {
    this.send({ type: 'error', code: codeOfClose(code) ?? 'internal', message });
    if (this.begun) this.#response.end();
  }

  /** A comment: nobody reads it, and every proxy on the way sees that the connection lives. */
  beat(): void {
    if (this.begun && this.writable && !this.#response.writableEnded) this.#write([':\n\n']);
  }

  #end(refusal: Refusal): void {
    this.#ended = true;
    // What ended the connection said more: when to come back.
    if (this.refused?.code !== refusal.code) this.refused = refusal;
    if (this.begun) this.#response.end();
  }

  #write(parts: readonly (string | Buffer)[]): void {
    if (parts.length === 0) return;
    this.#response.cork(); // one chunk
    for (const part of parts.slice(0, -1)) this.#response.write(part);
    this.#response.write(parts.at(-1), () => {
      if (this.writable) this.onDrained();
    });
    this.#response.uncork();
  }
}

/** JSON has line breaks between its tokens only, where a space means the same; in a column of type json they stay. */
function onOneLine(text: string | Buffer): string | Buffer {
  if (!text.includes('\n') && !text.includes('\r')) return text;
  return text.toString().replace(/[\r\n]/g, ' ');
}
