import { createHash } from 'node:crypto';
import type { Row } from '../../client/protocol/index.js';
import { testClient } from './client.js';
import { fairNow } from './fair-clock.js';
import { poll } from './poll.js';

export const TRANSPORTS = ['websocket', 'sse', 'poll'] as const;
export type TransportOfReader = (typeof TRANSPORTS)[number];

/** What one reader has had of one channel. It may end and go on later: the digest is over all of it. */
export class Course {
  readonly channel: string;
  readonly #isOurs: (row: Row) => boolean;
  readonly #digest = createHash('sha256');
  /** Where it stands, for `since`. */
  position = 'start';
  seq = 0;
  /** The first thing that was not as it had to be. */
  fault: string | undefined;
  /** When the last event came, and when the end, by `fairNow()`. */
  lastAt = 0;
  ended: { readonly code: string; readonly at: number } | null = null;

  constructor(channel: string, isOurs: (row: Row) => boolean) {
    this.channel = channel;
    this.#isOurs = isOurs;
  }

  take(seq: number, row: Row): void {
    this.lastAt = fairNow();
    if (seq !== this.seq + 1) this.fault ??= `${seq} follows ${this.seq}`;
    if (!this.#isOurs(row)) this.fault ??= `a row of another: ${JSON.stringify(row)}`;
    if (this.ended !== null) this.fault ??= `${seq} comes after ${this.ended.code}`;
    this.seq = seq;
    this.#digest.update(line(seq, row));
  }

  end(code: string | undefined): void {
    this.ended ??= { code: String(code), at: fairNow() };
  }

  /** Of all rows so far. */
  digest(): string {
    return this.#digest.copy().digest('hex');
  }
}

const line = (seq: number, row: Row) => `${seq} ${row.log_id ?? row.audit_id}\n`;

/** As `Course.digest`, of the rows of a table. */
export function digestOf(rows: readonly (Row & { readonly seq: number })[]): string {
  const digest = createHash('sha256');
  for (const row of rows) digest.update(line(row.seq, row));
  return digest.digest('hex');
}

export interface ReaderOptions {
  readonly url: string;
  readonly token: string;
  readonly transport: TransportOfReader;
}

/** Reads on where each course stands, until it has ended or the reader is closed; returns what closes it. */
export function read({ url, token, transport }: ReaderOptions, courses: readonly Course[]): () => void {
  for (const course of courses) course.ended = null;
  if (transport === 'poll') return readByPolls(url, token, courses);
  const client = testClient({ url, token, transports: [transport] });
  for (const course of courses) {
    client.subscribe(course.channel, {
      since: course.position,
      onEvent: ({ seq, row, position }) => {
        course.take(seq, row);
        course.position = position;
      },
      onReset: ({ reason }) => {
        course.fault ??= `reset: ${reason}`;
      },
      onState: (state, error) => {
        if (state === 'closed' && error !== undefined) course.end(error.code);
      },
    });
  }
  return () => client.close();
}

/** Seconds. */
const WAIT = 20;

function readByPolls(url: string, token: string, courses: readonly Course[]): () => void {
  const stop = new AbortController();
  const init = { headers: { authorization: `Bearer ${token}` }, signal: stop.signal };
  const ask = async () => {
    const open = courses.filter(({ ended }) => ended === null);
    const asked = open.map(({ channel, position }) => [channel, position] as const);
    const { status, frames, positions, text } = await poll(url, asked, WAIT, init);
    if (stop.signal.aborted) return;
    if (status !== 200) {
      const { code } = (JSON.parse(text) as { error: { code: string } }).error;
      for (const course of open) course.end(code);
    }
    for (const { type, channel, from = 0, events = [], code } of frames) {
      const course = open.find((one) => one.channel === channel);
      for (const [index, row] of events.entries()) course?.take(from + index, row);
      if (type === 'unsubscribed') course?.end(code);
    }
    for (const course of open) course.position = positions[course.channel] ?? course.position;
  };
  const run = async () => {
    while (!stop.signal.aborted && courses.some(({ ended }) => ended === null)) await ask();
  };
  run().catch((error: unknown) => {
    if (!stop.signal.aborted) for (const course of courses) course.fault ??= String(error);
  });
  return () => stop.abort();
}
