/** What the parts of both sides need from their edges, as the test plays it: a clock, a page, a link, a transport. */
import { type Command, type Frame, parseFrame } from '../../client/protocol/index.js';
import type { Environment } from '../../client/session/environment.js';
import type { Link, LinkEvents, Rung, TransportName } from '../../client/transport/rung.js';
import { makeLogger } from '../../server/ground/logger.js';
import type { Clock } from '../../server/ports/clock.js';
import type { Database, Sql } from '../../server/ports/database.js';
import { type Transport, textOf } from '../../server/ports/door.js';
import type { EventsFrame } from '../../server/ports/events-frame.js';

/** Lets everything run that waits for nothing but its turn. */
export function settle(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** As `settle`, for what waits for promises alone. It takes no turn of the event loop, which counts where it is called a million times. */
export function settlePromises(): Promise<void> {
  return new Promise((resolve) => process.nextTick(resolve));
}

export const silent = makeLogger('silent');

/** A clock that stands still until it is turned. */
export class FakeClock implements Clock {
  readonly #timers = new Set<{ at: number; task: () => void }>();
  #now = 1_000_000;

  /** How many tasks wait for their time. */
  get timers(): number {
    return this.#timers.size;
  }

  now(): number {
    return this.#now;
  }

  after(delay: number, task: () => void): () => void {
    const timer = { at: this.#now + Math.max(0, delay), task };
    this.#timers.add(timer);
    return () => this.#timers.delete(timer);
  }

  /** Time passes without anything running, as on a machine that sleeps: what was due meanwhile is late. */
  async sleep(time: number): Promise<void> {
    this.#now += time;
    await this.turn(0);
  }

  /** Lets time pass. What is due runs in its order, and all that follows from it before the next. */
  async turn(time: number): Promise<void> {
    const end = this.#now + time;
    for (;;) {
      await settlePromises();
      const next = this.#next();
      if (next === null || next.at > end) break;
      this.#now = Math.max(this.#now, next.at);
      this.#timers.delete(next);
      next.task();
    }
    this.#now = end;
    await settlePromises();
  }

  /** The timer that is due first; of several for one moment, the one that was set first. */
  #next(): { at: number; task: () => void } | null {
    let next: { at: number; task: () => void } | null = null;
    for (const timer of this.#timers) if (next === null || timer.at < next.at) next = timer;
    return next;
  }
}

/** An environment whose network hints the test gives. */
export class FakeEnvironment implements Environment {
  readonly #watchers = new Set<{ onHint(): void; onSuspend?: (() => void) | undefined }>();

  get watched(): boolean {
    return this.#watchers.size > 0;
  }

  watch(onHint: () => void, onSuspend?: () => void): () => void {
    const watcher = { onHint, onSuspend };
    this.#watchers.add(watcher);
    return () => this.#watchers.delete(watcher);
  }

  hint(): void {
    for (const { onHint } of this.#watchers) onHint();
  }

  /** The page is left. */
  suspend(): void {
    for (const { onSuspend } of this.#watchers) onSuspend?.();
  }
}

/** A link of the fake rung. The test plays the gateway. */
export class FakeLink implements Link {
  readonly events: LinkEvents;
  readonly sent: Record<string, unknown>[] = [];
  closed = false;

  constructor(events: LinkEvents) {
    this.events = events;
  }

  send(command: Command): void {
    if (this.closed) throw new Error(`sent on a closed link: ${JSON.stringify(command)}`);
    this.sent.push({ ...command });
  }

  /** The gateway sends a text. */
  receive(text: string): void {
    const frame = parseFrame(text);
    if (frame === null) this.events.onHeard();
    else this.events.onFrame(frame);
  }

  close(): void {
    this.closed = true;
  }
}

export class FakeRung implements Rung {
  readonly name: TransportName;
  readonly mayBuffer: boolean;
  readonly links: FakeLink[] = [];

  constructor(name: TransportName = 'websocket') {
    this.name = name;
    this.mayBuffer = name === 'sse';
  }

  get last(): FakeLink {
    const link = this.links.at(-1);
    if (link === undefined) throw new Error('no link was opened');
    return link;
  }

  open(events: LinkEvents): Link {
    this.links.push(new FakeLink(events));
    return this.last;
  }
}

/** What was handed to a transport, and whether it had said that it takes data. */
export interface Sent {
  readonly text: string;
  readonly bytes: number;
  readonly writable: boolean;
}

/** A socket with a send buffer that empties only when the test drains it. */
export class FakeTransport implements Transport {
  readonly sent: Sent[] = [];
  readonly bufferBytes: number;
  waiting = 0;
  closed: { code: number; reason: string } | null = null;
  onDrained: () => void = () => {};

  constructor(bufferBytes = Number.POSITIVE_INFINITY) {
    this.bufferBytes = bufferBytes;
  }

  get writable(): boolean {
    return this.waiting < this.bufferBytes;
  }

  send(frame: Frame | EventsFrame): void {
    const text = textOf(frame).toString();
    if (this.closed !== null) throw new Error(`sent on a closed transport: ${text}`);
    const bytes = Buffer.byteLength(text);
    this.sent.push({ text, bytes, writable: this.writable });
    this.waiting += bytes;
  }

  close(code: number, reason: string): void {
    this.closed = { code, reason };
  }

  drain(bytes = Number.POSITIVE_INFINITY): void {
    const stood = !this.writable;
    this.waiting = Math.max(0, this.waiting - bytes);
    if (stood && this.writable && this.closed === null) this.onDrained();
  }
}

/** A database whose statements a function answers. */
export function databaseOf(query: Sql['query']): Database {
  return { transaction: (work) => work({ query, asService: async () => [] }), statement: query };
}
