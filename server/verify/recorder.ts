import { closeSync, openSync, writeSync } from 'node:fs';
import { digestOf } from './digest.js';

/** Lines are buffered for at most this time, in milliseconds, and up to this number of characters, to save writes. */
const FLUSH_INTERVAL = 100;
const FLUSH_SIZE = 64 * 1024;

export interface RecorderOptions {
  /** What is recorded of a row: all of it (the default), a digest, or nothing. */
  readonly content?: 'row' | 'digest' | 'none';
  /** Called once if the file cannot be written. Later lines are not recorded. */
  readonly onError: (error: Error) => void;
}

/** Records one client and one channel. The functions can be passed as listeners. */
export interface RecordedReader {
  /** Called at each `subscribed` reply, with the position of the client. */
  readonly subscribed: (position: string | null) => void;
  readonly event: (event: { readonly position: string; readonly row: unknown }) => void;
  readonly reset: (reset: { readonly reason: string; readonly position: string }) => void;
  /** The client leaves, and claims to have everything up to this position. */
  readonly end: (position: string | null) => void;
}

/** Writes a history file in the format of docs/reference/history.md. Any number of clients can share it. */
export class Recorder {
  readonly #options: RecorderOptions;
  readonly #file: number;
  readonly #timer: NodeJS.Timeout;
  #waiting = '';
  #failed = false;

  /** Throws if the file exists: a history is evidence and is never overwritten. */
  constructor(path: string, options: RecorderOptions) {
    this.#options = options;
    this.#file = openSync(path, 'wx');
    this.#timer = setInterval(() => this.#flush(), FLUSH_INTERVAL).unref();
  }

  /** Begins a session, in which `client` reads the events after `since`. */
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

  /** Writes the buffered lines and closes the file. */
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
