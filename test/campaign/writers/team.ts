import { setTimeout as delay } from 'node:timers/promises';
import type { Random } from '../../support/random.js';
import { until } from '../../support/until.js';
import type { Database } from '../database.js';
import { HELD, OWNED, PRUNED, REBORN, SHARED } from '../schema.js';
import { Pace } from './pace.js';
import { Writer } from './writer.js';

const WRITERS = 8;
/** Nobody's but the nemeses': for transactions that stay open, pairs that lock each other out, and rows one by one. */
const EXTRA = 6;
const LONGEST_STATEMENT = 40;

/** All who write. */
export class Team {
  readonly pace: Pace;
  /** Those that write on, each with a channel of its own besides those that all share. */
  readonly writers: readonly Writer[];
  readonly extra: readonly Writer[];
  /** Rows of channels that are seldom written to: by checksum, when they were committed. */
  readonly rare = new Map<number, number>();
  readonly #random: Random;
  #running: Promise<unknown> = Promise.resolve();
  #busy = 0;

  constructor(database: Database, rowsPerSecond: number, random: Random) {
    this.#random = random;
    this.pace = new Pace(rowsPerSecond, random.branch('pace'));
    const make = (id: number) => new Writer(id, database, random.branch(`writer ${id}`));
    this.writers = Array.from({ length: WRITERS }, (_, id) => make(id));
    this.extra = Array.from({ length: EXTRA }, (_, id) => make(WRITERS + id));
    for (const writer of this.extra) {
      writer.onCommitted = (rows, at) => {
        for (const { checksum } of rows) this.rare.set(checksum, at);
      };
    }
  }

  get all(): readonly Writer[] {
    return [...this.writers, ...this.extra];
  }

  /** Transactions that PostgreSQL asked to try again. */
  get retries(): number {
    return this.all.reduce((sum, { retries }) => sum + retries, 0);
  }

  start(): void {
    this.#running = Promise.all(this.writers.map((writer) => this.#write(writer)));
  }

  /** Resolves when every transaction has ended. */
  async finish(): Promise<void> {
    this.pace.close();
    await this.#running;
  }

  async end(): Promise<void> {
    await Promise.all(this.all.map((writer) => writer.end()));
  }

  async #write(writer: Writer): Promise<void> {
    const random = this.#random.branch(`choices ${writer.id}`);
    const own = OWNED[writer.id] ?? '';
    const shared = (count: number) => random.shuffled(SHARED).slice(0, count).sort();
    const repeated = (key: string, count: number) => Array.from({ length: count }, () => key);
    const turns: { readonly weight: number; readonly rows: number; readonly run: () => Promise<void> }[] = [
      { weight: 30, rows: 1, run: () => writer.insert([own], { own: true }) },
      { weight: 10, rows: 1, run: () => writer.insert(shared(1)) },
      {
        weight: 12,
        rows: LONGEST_STATEMENT / 2,
        run: () => writer.insert(repeated(own, random.int(2, LONGEST_STATEMENT)), { own: true }),
      },
      { weight: 10, rows: 12, run: () => writer.insert(shared(4).flatMap((key) => repeated(key, 3))) },
      {
        weight: 8,
        rows: 6,
        run: () =>
          writer.transact('READ COMMITTED', async ({ insert }) => {
            for (const key of shared(3)) await insert(writer.rows(repeated(key, 2)));
          }),
      },
      { weight: 5, rows: 3, run: () => writer.rollBack([own, ...shared(2)]) },
      {
        weight: 6,
        rows: 6,
        run: () =>
          writer.transact('READ COMMITTED', async ({ insert, undo }) => {
            await insert(writer.rows(repeated(own, 2)));
            await undo(() => insert(writer.rows(repeated(own, 3))));
            await insert(writer.rows([own]));
          }),
      },
      {
        weight: 3,
        rows: 2,
        run: () =>
          writer.transact('READ COMMITTED', async ({ insert }) => {
            const [key = ''] = shared(1);
            await insert(writer.rows([key]));
            await delay(random.int(20, 250)); // others commit meanwhile, with later transaction numbers
            await insert(writer.rows([key]));
          }),
      },
      {
        weight: 6,
        rows: 4,
        run: () =>
          writer.transact(
            random.pick(['REPEATABLE READ', 'SERIALIZABLE'] as const),
            async ({ insert }) => {
              for (const key of shared(2)) await insert(writer.rows(repeated(key, 2)));
            },
            true,
          ),
      },
      { weight: 5, rows: 4, run: () => writer.insert(repeated(random.pick(PRUNED), 4), { stream: 'pruned' }) },
      { weight: 5, rows: 2, run: () => writer.insert(repeated(random.pick(REBORN), 2), { stream: 'reborn' }) },
    ];
    const weights = turns.reduce((sum, { weight }) => sum + weight, 0);
    const choose = () => {
      let drawn = random.next() * weights;
      for (const turn of turns) {
        drawn -= turn.weight;
        if (drawn < 0) return turn;
      }
      return turns[0];
    };
    for (let turn = choose(); turn !== undefined && (await this.pace.take(turn.rows)); turn = choose()) {
      this.#busy += 1;
      await turn.run();
      this.#busy -= 1;
    }
  }

  /** A transaction that stays open for some time, with rows in a channel of its own, while others commit past it. */
  async hold(ms: number, which: number): Promise<void> {
    const writer = this.#extraWriter(which);
    await writer.transact('READ COMMITTED', async ({ insert }) => {
      const key = HELD[which % 2] ?? '';
      await insert(writer.rows([key, key]));
      await delay(ms);
      await insert(writer.rows([key]));
    });
  }

  /** Two transactions that take two channels in different orders: PostgreSQL ends one of them, which tries again. */
  async deadlock(): Promise<void> {
    const [first, second] = [this.#extraWriter(2), this.#extraWriter(3)];
    const [one = '', other = ''] = HELD.slice(2);
    let arrived = 0;
    let meet: () => void = () => {};
    const met = new Promise<void>((resolve) => {
      meet = resolve;
    });
    const take = (writer: Writer, keys: readonly string[]) =>
      writer.transact(
        'READ COMMITTED',
        async ({ insert }) => {
          for (const [index, key] of keys.entries()) {
            await insert(writer.rows([key]));
            if (index > 0) continue;
            arrived += 1;
            if (arrived >= 2) meet();
            await Promise.race([met, delay(1_000)]);
          }
        },
        true,
      );
    await Promise.all([take(first, [one, other]), take(second, [other, one])]);
  }

  /** One row, from nobody in particular. */
  stir(): Promise<void> {
    return this.#extraWriter(4).insert([OWNED[WRITERS] ?? ''], { own: true });
  }

  /** Resolves when those that write on have no transaction open; they have to be paused before. */
  async quiet(): Promise<void> {
    await until(() => this.#busy === 0, { what: 'the writers to pause' });
  }

  /** One row in a transaction; `between` runs after the INSERT and before the COMMIT. */
  async writeOne(key: string, between: () => Promise<void>): Promise<{ checksum: number; committed: number }> {
    const writer = this.#extraWriter(5);
    let checksum = 0;
    await writer.transact('READ COMMITTED', async ({ insert }) => {
      const rows = writer.rows([key]);
      checksum = rows[0]?.checksum ?? 0;
      await insert(rows);
      await between();
    });
    return { checksum, committed: performance.now() };
  }

  #extraWriter(index: number): Writer {
    const writer = this.extra[index];
    if (writer === undefined) throw new Error(`there is no extra writer ${index}`);
    return writer;
  }
}
