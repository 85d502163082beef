import type { Logger } from '../ground/logger.js';
import { StreamUnreadable } from '../ground/refusal.js';
import type { Clock } from '../ports/clock.js';
import type { Reading } from './statements.js';
import type { Stream } from './streams.js';

/** Between two tries to read a stream that failed: the first wait and the longest, in milliseconds. */
const FIRST_WAIT = 250;
const LONGEST_WAIT = 15_000;

/** A stream that fails again within this time after a failure waits longer than before, in milliseconds. */
const CALM = 60_000;

/**
 *        the text of a row fails            its numbers fail
 * well ─────────────────────────► heads ─────────────────────► out
 *  ▲ ◄──── the wait is over ───────┘  ▲                          │
 *  └─────────────────────── a probe succeeds ────────────────────┘
 *
 * `well`: the tail reads its rows. `heads`: it reads where they stand, and readers fetch them as pages, where the one
 * row whose text cannot be made is found. `out`: the tail passes the stream over.
 */
type Condition = 'heads' | 'out';

interface Trouble {
  readonly condition: Condition;
  readonly since: number;
  readonly error: unknown;
  /** A failure of the catalog is over when the catalog says so, and not before. */
  readonly permanent: boolean;
  failures: number;
  at: number;
  retryAt: number;
}

/** What `/readyz` says of a stream. */
export interface StreamReport {
  /** `unreadable`: its readers wait. `slow path`: they get its events as pages, but for single rows that cannot be encoded. */
  readonly state: 'unreadable' | 'slow path';
  /** The SQLSTATE; empty where no statement failed. */
  readonly code: string;
  readonly reason: string;
  readonly since: string;
}

/** Which streams the tail may read together, and when one that failed is tried again. */
export class StreamHealth {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #troubles = new Map<number, Trouble>();
  /** Failures that are over, kept for a while: the pace of the next ones depends on them. */
  readonly #over = new Map<number, Trouble>();
  #streams: readonly Stream[] = [];

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  /** The streams as the catalog has them. Returns those whose readers have to be told. */
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

  /** What the tail reads in one statement. */
  get readings(): Reading[] {
    return this.#streams
      .filter(({ id }) => this.#troubles.get(id)?.condition !== 'out')
      .map((stream) => ({ stream, texts: !this.#troubles.has(stream.id) }));
  }

  /** Changes whenever `readings` may have changed. */
  get version(): string {
    return [...this.#troubles].map(([id, { condition }]) => `${id} ${condition}`).join();
  }

  /** Throws `StreamUnreadable` while the stream is out: the database is not asked again for each of its channels. */
  check({ id, name }: Stream): void {
    const trouble = this.#troubles.get(id);
    if (trouble?.condition === 'out') throw new StreamUnreadable(name, { cause: trouble.error });
  }

  /** The text of some row cannot be made: for a while the stream is read by its heads. */
  withoutTexts(stream: Stream, error: unknown): void {
    this.#enter(stream, 'heads', error, false);
  }

  /** Its numbers cannot be read. */
  out(stream: Stream, error: unknown): void {
    this.#enter(stream, 'out', error, false);
  }

  /** The catalog is read anew, and says what becomes of it. */
  again(stream: Stream): void {
    this.#enter(stream, 'out', new Error(stream.problem ?? ''), true);
  }

  /** Whether it can be read could not be asked. */
  postpone({ id }: Stream): void {
    const trouble = this.#troubles.get(id);
    if (trouble !== undefined) trouble.retryAt = this.#clock.now() + FIRST_WAIT;
  }

  /** Its numbers can be read again. */
  well(stream: Stream): void {
    this.#leave(stream);
  }

  /** Streams that are out and are to be tried now; each is given once until something is said of it. */
  due(): Stream[] {
    const now = this.#clock.now();
    return this.#streams.filter(({ id }) => {
      const trouble = this.#troubles.get(id);
      if (trouble === undefined || trouble.retryAt > now) return false;
      if (trouble.condition === 'out') trouble.retryAt = Number.POSITIVE_INFINITY;
      return trouble.condition === 'out';
    });
  }

  /** Streams whose wait is over are read with their texts again. */
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
    const said: Record<string, StreamReport> = {};
    for (const { id, name } of this.#streams) {
      const trouble = this.#troubles.get(id);
      if (trouble === undefined) continue;
      const { condition, error, since } = trouble;
      const code = codeOf(error);
      // What a row made the server say may hold its data.
      const reason = condition === 'out' ? (error as Error).message : 'the text of a row cannot be made';
      const state = condition === 'out' ? 'unreadable' : 'slow path';
      said[name] = { state, code, reason, since: new Date(since).toISOString() };
    }
    return said;
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
    const told =
      condition === 'out' ? 'a stream cannot be read, the others go on' : 'a row of a stream cannot be encoded';
    this.#logger.error({ stream: stream.name, table: stream.relation, err: error }, told);
  }

  #leave(stream: Stream): void {
    const trouble = this.#troubles.get(stream.id);
    if (trouble === undefined) return;
    this.#troubles.delete(stream.id);
    this.#over.set(stream.id, trouble);
    if (trouble.condition === 'out') this.#logger.info({ stream: stream.name }, 'a stream can be read again');
  }
}

/** The SQLSTATE of an error of the server, also where it was wrapped. */
export function codeOf(error: unknown): string {
  const { code, cause } = Object(error) as { code?: unknown; cause?: unknown };
  if (typeof code === 'string') return code;
  return cause === undefined ? '' : codeOf(cause);
}
