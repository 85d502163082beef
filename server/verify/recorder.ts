import { closeSync, openSync, writeSync } from 'node:fs';
import { digestOf } from './digest.js';

/** Lines wait at most this long (ms) and up to this many characters, so that thousands a second cost few writes. */
const FLUSH_INTERVAL = 100;
const FLUSH_SIZE = 64 * 1024;

export interface RecorderOptions {
  /** What is kept of a row: all of it (the default), a digest, or nothing. */
  readonly content?: 'row' | 'digest' | 'none';
  /** The file cannot be written any more. It is told once; what comes later is not recorded. */
  readonly onError: (error: Error) => void;
}

/** What one client sees of one channel. The functions may be handed on as listeners. */
export interface RecordedReader {
  /** At each `subscribed` reply: where the client stands then. */
  readonly subscribed: (position: string | null) => void;
  readonly event: (event: { readonly position: string; readonly row: unknown }) => void;
  readonly reset: (reset: { readonly reason: string; readonly position: string }) => void;
  /** The client leaves, and claims to have everything up to here. */
  readonly end: (position: string | null) => void;
}

/** Writes what clients see to one file, as docs/reference/history.md has it. Any number of clients may share it. */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #file: number;
  readonly #timer: NodeJS.Timeout;
  #waiting = '';
  #failed = false;

  /** Throws if the file is there already: a history is evidence. */
  constructor(path: string, options: RecorderOptions) {
    this.#options = options;
    this.#file = openSync(path, 'wx');
    this.#timer = setInterval(() => this.#flush(), FLUSH_INTERVAL).unref();
  }

  /** A session begins: `client` asks for what follows `since`. */
  begin(client: string, channel: string, since: string): RecordedReader {
    const { content = 'row' } = this.#options;
    const add = (type: string, fields: object) => this.#add({ at: Date.now(), client, type, channel, ...fields });
    add('begin', { since });
    return {
      subscribed: (position) => position !== null && add('subscribed', { position }),
      event: ({ position, row }) => {
        add(
          'event',
          content === 'row' ? { position, row } : { position, ...(content === 'digest' && { digest: digestOf(row) }) },
        );
      },
      reset: ({ reason, position }) => add('reset', { reason, position }),
      end: (position) => position !== null && add('end', { position }),
    };
  }

  /** Writes what waits. Every line that was recorded before is in the file then. */
  close(): void {
    clearInterval(this.#timer);
    this.#flush();
    closeSync(this.#file);
  }

  #add(line: object): void {
    this.#waiting += `${JSON.stringify(line)}\n`;
    if (this.#waiting.length >= FLUSH_SIZE) this.#flush();
  }

  #flush(): void {
    const lines = Buffer.from(this.#waiting);
    this.#waiting = '';
    if (this.#failed) return;
    try {
      for (let written = 0; written < lines.length; ) written += writeSync(this.#file, lines, written);
    } catch (error) {
      this.#failed = true;
      this.#options.onError(error as Error);
    }
  }
}
