import type { ServerResponse } from 'node:http';
import { codeOfClose, errors, isErrorCode, parseFrame } from '../../client/protocol/index.js';
import type { Transport } from '../ports.js';
import { Refusal } from '../refusal.js';

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

/** A frame as it is written: in parts, none where it is not told. */
export interface Written {
  readonly parts: readonly (string | Buffer)[];
  /** The stream ends with it. */
  readonly end?: Refusal;
}

export type EventFormat = (frame: string | Buffer) => Written;

/** Each frame is one `data` line. Its `id`, by which an `EventSource` that comes back misses nothing, is asked for after it was taken. */
export function framesWithId(idOf: () => string): EventFormat {
  return (frame) => {
    const id = idOf();
    return { parts: [id === '' ? 'data: ' : `id: ${id}\ndata: `, onOneLine(frame), '\n\n'] };
  };
}

/**
 * The same for a reader that cannot ask again for a channel which was refused for now. The stream ends, and the last id
 * still names that channel: the reader comes back for all of them.
 */
export function framesOrNone(idOf: () => string): EventFormat {
  const write = framesWithId(idOf);
  return (frame) => {
    const told = typeof frame === 'string' ? parseFrame(frame) : null;
    if (told?.type !== 'error' && told?.type !== 'unsubscribed') return write(frame);
    const { code } = told;
    if (!isErrorCode(code) || errors[code].outcome === 'stop') return write(frame);
    const message = told.type === 'error' ? told.message : errors[code].meaning;
    return {
      parts: ['data: ', JSON.stringify({ type: 'error', code, message }), '\n\n'],
      end: new Refusal(code, message),
    };
  };
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
  format: EventFormat = framesWithId(() => '');
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
    return this.#response.writableLength < this.#bufferBytes;
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

  send(frame: string | Buffer): void {
    if (this.#ended || this.#response.writableEnded) return;
    const { parts, end } = this.format(frame);
    if (this.#waiting === null) this.#write(parts);
    if (end !== undefined) return this.#end(end);
    if (this.#waiting === null) return;
    this.#waiting.push(parts);
    const reply = parseFrame(frame.toString());
    // What follows in the same turn may still end it.
    if (reply?.type === 'subscribed') queueMicrotask(() => this.begin());
    if (reply?.type === 'error' && isErrorCode(reply.code)) this.refused ??= new Refusal(reply.code, reply.message);
  }

  /** There is no close code here: a frame says why, and the stream ends. */
  close(code: number, message: string): void {
    this.send(JSON.stringify({ type: 'error', code: codeOfClose(code) ?? 'internal', message }));
    if (this.begun) this.#response.end();
  }

  /** A comment: nobody reads it, and every proxy on the way sees that the connection lives. */
  beat(): void {
    if (this.begun && this.writable && !this.#response.writableEnded) this.#write([':\n\n']);
  }

  #end(refusal: Refusal): void {
    this.#ended = true;
    this.refused = refusal;
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
function onOneLine(frame: string | Buffer): string | Buffer {
  if (!frame.includes('\n') && !frame.includes('\r')) return frame;
  return frame.toString().replace(/[\r\n]/g, ' ');
}
