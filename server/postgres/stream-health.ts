/**
 * Tracks which streams the tail can read, so that one that fails does not affect the others: how each is read, when a failed one
 * is tried again, and what `/readyz` reports about it. The tail calls it before and after each read.
 */
import type { Logger } from '../ground/logger.js';
import { StreamUnreadable } from '../ground/refusal.js';
import type { Clock } from '../ports/clock.js';
import type { Reading } from './statements.js';
import type { Stream } from './streams.js';

/** The first and the maximum delay before a stream that failed is tried again, in milliseconds. */
const FIRST_WAIT = 250;
const LONGEST_WAIT = 15_000;

/** If a stream fails again within this time, in milliseconds, the delay increases. */
const CALM = 60_000;

/**
 *        a row cannot be encoded            seqs cannot be read
 * well ─────────────────────────► heads ─────────────────────► out
 *  ▲ ◄──── the delay is over ──────┘  ▲                          │
 *  └─────────────────────── a probe succeeds ────────────────────┘
 *
 * `well`: the tail reads its rows. `heads`: the tail reads the seqs only, and readers read the rows as pages, which find the
 * row that cannot be encoded. `out`: the tail skips the stream.
 */
type Condition = 'heads' | 'out';

interface Trouble {
  readonly condition: Condition;
  readonly since: number;
  readonly error: unknown;
  /** Whether the problem is in the catalog. It then ends only when the catalog has changed. */
  readonly permanent: boolean;
  failures: number;
  at: number;
  retryAt: number;
}

/** The report of `/readyz` about a stream. */
export interface StreamReport {
  /** `unreadable`: its readers wait. `slow path`: they get its events as pages, except for rows that cannot be encoded. */
  readonly state: 'unreadable' | 'slow path';
  /** The SQLSTATE; empty if no statement failed. */
  readonly code: string;
  readonly reason: string;
  readonly since: string;
}

export class StreamHealth {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #troubles = new Map<number, Trouble>();
  /** Troubles that have ended. They are kept for a while, because the next delay depends on them. */
  readonly #over = new Map<number, Trouble>();
  #streams: readonly Stream[] = [];

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Takes the streams of the catalog. Returns those whose condition has changed, so that their channels must be read again. */
  use(streams: readonly Stream[]): Stream[] {
    if (streams === this.#streams) return [];
    this.#streams = streams;
    const known = new Set(streams.map(({ id }) => id));
    for (const map of [this.#troubles, this.#over]) for (const id of map.keys()) if (!known.has(id)) map.delete(id);
    const changed: Stream[] = [];
    for (const stream of streams) {
      const { permanent = false } = this.#troubles.get(stream.id) ?? {};
      if (stream.problem !== null && !permanent) this.#enter(stream, 'out', new Error(stream.problem), true);
      else if (stream.problem === null && permanent) this.#leave(stream);
      else continue;
      changed.push(stream);
    }
    return changed;
  }

  /** The streams that the tail reads in one statement. */
  get readings(): Reading[] {
    return this.#streams
      .filter(({ id }) => this.#troubles.get(id)?.condition !== 'out')
      .map((stream) => ({ stream, texts: !this.#troubles.has(stream.id) }));
  }

  /** Changes whenever `readings` may have changed. */
  get version(): string {
    return [...this.#troubles].map(([id, { condition }]) => `${id} ${condition}`).join();
  }

  /** Throws `StreamUnreadable` while the stream is out, without a query for each of its channels. */
  check({ id, name }: Stream): void {
    const trouble = this.#troubles.get(id);
    if (trouble?.condition === 'out') throw new StreamUnreadable(name, { cause: trouble.error });
  }

  /** Some row cannot be encoded: for a while only the heads of the stream are read. */
  withoutTexts(stream: Stream, error: unknown): void {
    this.#enter(stream, 'heads', error, false);
  }

  /** The seqs of the stream cannot be read. */
  out(stream: Stream, error: unknown): void {
    this.#enter(stream, 'out', error, false);
  }

  /** The problem is in the catalog, which is read again and decides when it ends. */
  again(stream: Stream): void {
    this.#enter(stream, 'out', new Error(stream.problem ?? ''), true);
  }

  /** The probe of the stream failed because the database could not be reached. */
  postpone({ id }: Stream): void {
    const trouble = this.#troubles.get(id);
    if (trouble !== undefined) trouble.retryAt = this.#clock.now() + FIRST_WAIT;
  }

  /** The seqs of the stream can be read again. */
  well(stream: Stream): void {
    this.#leave(stream);
  }

  /** Returns the streams that are out and must be probed now. Each is returned once, until the result of its probe is reported. */
  due(): Stream[] {
    const now = this.#clock.now();
    return this.#streams.filter(({ id }) => {
      const trouble = this.#troubles.get(id);
      if (trouble === undefined || trouble.retryAt > now) return false;
      if (trouble.condition === 'out') trouble.retryAt = Number.POSITIVE_INFINITY;
      return trouble.condition === 'out';
    });
  }

  /** Lets the streams whose delay is over be read with their rows again. */
  settle(): void {
    const now = this.#clock.now();
    for (const stream of this.#streams) {
      const trouble = this.#troubles.get(stream.id);
      if (trouble?.condition === 'heads' && trouble.retryAt <= now) this.#leave(stream);
    }
  }

  get troubled(): number {
    return this.#troubles.size;
  }

  report(): Record<string, StreamReport> {
    const reports: Record<string, StreamReport> = {};
    for (const { id, name } of this.#streams) {
      const trouble = this.#troubles.get(id);
      if (trouble === undefined) continue;
      const { condition, error, since } = trouble;
      const code = codeOf(error);
      // The message of an encoding error may contain data of the row.
      const reason = condition === 'out' ? (error as Error).message : 'a row cannot be encoded';
      const state = condition === 'out' ? 'unreadable' : 'slow path';
      reports[name] = { state, code, reason, since: new Date(since).toISOString() };
    }
    return reports;
  }

  #enter(stream: Stream, condition: Condition, error: unknown, permanent: boolean): void {
    const now = this.#clock.now();
    const present = this.#troubles.get(stream.id);
    const before = present ?? this.#over.get(stream.id);
    const failures = before !== undefined && now - before.at < CALM + LONGEST_WAIT ? before.failures + 1 : 0;
    const retryAt = now + Math.min(LONGEST_WAIT, FIRST_WAIT * 2 ** failures);
    this.#over.delete(stream.id);
    const since = present?.condition === condition ? present.since : now;
    this.#troubles.set(stream.id, { condition, since, error, permanent, failures, at: now, retryAt });
    if (present?.condition === condition && codeOf(present.error) === codeOf(error)) return;
    const message =
      condition === 'out' ? 'a stream cannot be read, the others continue' : 'a row of a stream cannot be encoded';
    this.#logger.error({ stream: stream.name, table: stream.relation, err: error }, message);
  }

  #leave(stream: Stream): void {
    const trouble = this.#troubles.get(stream.id);
    if (trouble === undefined) return;
    this.#troubles.delete(stream.id);
    this.#over.set(stream.id, trouble);
    if (trouble.condition === 'out') this.#logger.info({ stream: stream.name }, 'a stream can be read again');
  }
}

/** Returns the SQLSTATE of an error or of its cause; empty if there is none. */
export function codeOf(error: unknown): string {
  const { code, cause } = Object(error) as { code?: unknown; cause?: unknown };
  if (typeof code === 'string') return code;
  return cause === undefined ? '' : codeOf(cause);
}
