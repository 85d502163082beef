import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Doorbell } from '../../server/doorbell.js';
import { Metrics } from '../../server/metrics.js';
import type { Gate, TailRead } from '../../server/ports.js';
import { Unavailable } from '../../server/ports.js';
import { FakeClock, settle } from '../support/fakes.js';
import { seed } from './seed.js';

const parameters = { seed: seed('doorbell'), numRuns: 1_500 };

const INTERVAL = 5;
/** Longer than a window of the doorbell's rates, so that they are weighed anew. */
const WINDOW = 501;
const NEVER = 1e12;

interface Writer {
  /** `open`: has inserted, and so has a transaction number. `probed`: has tried the gate. */
  state: 'idle' | 'open' | 'probed';
  xid: bigint;
  rings: boolean;
}

/** The session that holds the gate or queues for it, as Postgres sees it and as the gateway does. */
interface Visit {
  /** `taken` once the question has reached Postgres: from then on until it is free every probe fails. */
  lock: 'asked' | 'taken' | 'free';
  readonly onTaken: () => void;
  readonly onLost: () => void;
}

/**
 * Postgres, as the doorbell and the triggers of the writers see it. Everything that takes time there is a move that
 * is taken later, or never.
 */
class World implements Gate {
  readonly clock = new FakeClock();
  readonly doorbell: Doorbell;
  readonly #born = this.clock.now();
  readonly #writers: Writer[];
  #nextXid = 100n;
  /** As in Postgres: one above the newest transaction that has ENDED. */
  #xmax = 100n;
  /** Numbers of committed transactions whose rows no read has seen. */
  #unread: bigint[] = [];
  /** The visit that the gateway believes in, and all that Postgres may still know of. */
  #visit: Visit | null = null;
  readonly #visits = new Set<Visit>();
  /** What is on its way to the gateway. */
  readonly #pending = new Map<string, () => void>();
  #pendings = 0;
  reads = 0;

  constructor(writers: number, rates: { wakeRate: number; sleepRate: number }) {
    this.#writers = Array.from({ length: writers }, () => ({ state: 'idle', xid: 0n, rings: false }));
    this.doorbell = new Doorbell({
      read: () => this.#read(),
      newestTransaction: () => this.#newestTransaction(),
      ringOthers: async () => {},
      gate: this,
      clock: this.clock,
      metrics: new Metrics(),
      ...rates,
      awakeInterval: INTERVAL,
      safetyInterval: NEVER,
    });
    this.doorbell.ring(); // as the gateway does when it has connected
  }

  get locked(): boolean {
    return [...this.#visits].some(({ lock }) => lock === 'taken');
  }

  take({ onTaken, onLost }: { onTaken(): void; onLost(): void }): void {
    if (this.#visit !== null) throw new Error('the gate was asked for twice');
    const visit: Visit = { lock: 'asked', onTaken, onLost };
    this.#visit = visit;
    this.#visits.add(visit);
    this.#later('queue', () => {
      if (visit.lock === 'free') return;
      visit.lock = 'taken';
      this.#later('taken', () => this.#visit === visit && visit.lock === 'taken' && visit.onTaken());
    });
  }

  renew(): void {}

  leave(): Promise<void> {
    const visit = this.#visit;
    this.#visit = null;
    return new Promise((resolve) => {
      if (visit === null) return resolve();
      this.#later('unlock', () => {
        this.#free(visit);
        this.#later('left', resolve);
      });
    });
  }

  /** Something that is on its way arrives. */
  arriveOne(which: number): void {
    const names = [...this.#pending.keys()];
    this.#arrive(names[which % names.length]);
  }

  /** A writer takes its next step: inserts, probes, commits. */
  write(which: number): void {
    const writer = this.#writers[which % this.#writers.length];
    if (writer !== undefined) this.#write(writer);
  }

  /** A session that holds the gate, or queues for it, ends. */
  lose(): void {
    for (const visit of this.#visits) if (visit.lock === 'taken') return this.#lose(visit);
  }

  /** Every writer ends what it began, and begins nothing any more. */
  finish(order: number): void {
    const [...writers] = this.#writers;
    if (order % 2 === 1) writers.reverse();
    for (const writer of writers) while (writer.state !== 'idle') this.#write(writer);
  }

  /** Everything that is on its way arrives. */
  async arrive(): Promise<void> {
    for (; this.#pending.size > 0; await settle()) this.#arrive([...this.#pending.keys()][0]);
  }

  /** Nothing new happens. Then whatever was committed is read soon, although some writers are still open. */
  async rest(): Promise<void> {
    // It looks for a transaction that has been open for long a hundredth of that time later at the most.
    const soon = INTERVAL + (this.clock.now() - this.#born) / 100;
    // Two reads: one that was under way may have failed.
    for (let read = 0; read < 2; read += 1) {
      await this.arrive();
      await this.clock.turn(soon);
    }
    await this.arrive();
    if (this.#unread.length > 0) throw new Error(`I9: a row is stranded, the gateway is ${this.doorbell.state}`);
  }

  #arrive(name: string | undefined): void {
    const move = this.#pending.get(name ?? '');
    this.#pending.delete(name ?? '');
    move?.();
  }

  #later(name: string, move: () => void): void {
    this.#pendings += 1;
    this.#pending.set(`${name} ${this.#pendings}`, move);
  }

  #write(writer: Writer): void {
    if (writer.state === 'idle') {
      writer.state = 'open';
      writer.xid = this.#nextXid++;
      writer.rings = false;
    } else if (writer.state === 'open') {
      writer.state = 'probed';
      writer.rings = !this.locked;
    } else {
      writer.state = 'idle';
      this.#end(writer.xid);
      this.#unread.push(writer.xid);
      if (writer.rings) this.#later('ring', () => this.doorbell.ring());
    }
  }

  #end(xid: bigint): void {
    if (xid >= this.#xmax) this.#xmax = xid + 1n;
  }

  #free(visit: Visit): void {
    visit.lock = 'free';
    this.#visits.delete(visit);
  }

  /** The session of the gate ends; the gateway notices later. */
  #lose(visit: Visit): void {
    this.#free(visit);
    this.#later('lost', () => {
      if (this.#visit !== visit) return;
      this.#visit = null;
      visit.onLost();
    });
  }

  /** Takes its snapshot some time after it was asked for, and answers some time after that, or fails. */
  #read(): Promise<TailRead> {
    return new Promise((resolve, reject) => {
      this.#later('snapshot', () => {
        this.reads += 1;
        const found = this.#unread;
        // The number of a transaction above xmax is hidden: for the snapshot it has not begun.
        const open = this.#writers.filter(({ state, xid }) => state !== 'idle' && xid < this.#xmax);
        const xmin = open.reduce((lowest, { xid }) => (xid < lowest ? xid : lowest), this.#xmax);
        this.#unread = [];
        if (this.reads % 10 === 9) {
          this.#unread = found;
          this.#later('failed', () => {
            reject(new Unavailable('away'));
            this.#later('reconnected', () => this.doorbell.ring());
          });
        } else {
          this.#later('read', () => resolve({ commits: found.length, xmin }));
        }
      });
    });
  }

  #newestTransaction(): Promise<bigint> {
    return new Promise((resolve) => {
      this.#later('number', () => {
        const xid = this.#nextXid++;
        this.#end(xid);
        this.#later('numbered', () => resolve(xid));
      });
    });
  }
}

/** One ring wakes the gateway, or two, or none ever; a sleepRate of 1,000 sends it to sleep at each window. */
const rates = fc.record({ wakeRate: fc.constantFrom(2, 2, 4, 1_000), sleepRate: fc.constantFrom(2, 4, 1_000, 1_000) });
const step = fc.oneof(
  { weight: 10, arbitrary: fc.record({ do: fc.constant('arrive' as const), which: fc.nat(9) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), which: fc.nat(9) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('lose' as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('rest' as const) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('wait' as const), time: fc.constantFrom(INTERVAL, WINDOW) }) },
);

test('I9: every committed row is read, however writers, reads and the gate interleave, without another write', async () => {
  const reached = new Map<string, number>();
  await fc.assert(
    fc.asyncProperty(
      rates,
      fc.integer({ min: 1, max: 3 }),
      fc.array(step, { maxLength: 100, size: 'max' }),
      fc.nat(1),
      async (rates, writers, steps, order) => {
        const world = new World(writers, rates);
        for (const step of steps) {
          if (step.do === 'wait') await world.clock.turn(step.time);
          else if (step.do === 'arrive') world.arriveOne(step.which);
          else if (step.do === 'write') world.write(step.which);
          else if (step.do === 'lose') world.lose();
          else await world.rest();
          await settle();
          reached.set(world.doorbell.state, (reached.get(world.doorbell.state) ?? 0) + 1);
        }

        world.finish(order);
        await world.rest();

        // Left alone it falls asleep, and rests.
        for (let windows = 0; windows < 6; windows += 1) {
          for (let turn = 0; turn < WINDOW; turn += 100) {
            await world.clock.turn(100);
            await world.arrive();
          }
        }
        expect([world.doorbell.state, world.locked, world.clock.timers]).toEqual(['asleep', false, 1]);
        const { reads } = world;
        await world.clock.turn(100 * WINDOW);
        expect(world.reads).toBe(reads);
        // I7: stopped while it reads, it reads no more.
        world.doorbell.ring();
        const stopped = world.doorbell.stop();
        await world.arrive();
        await stopped;
        world.doorbell.ring();
        await world.arrive();
        expect([world.reads, world.locked, world.clock.timers]).toEqual([reads + 1, false, 0]);
      },
    ),
    parameters,
  );
  // A test that never got there would prove nothing.
  for (const state of ['asleep', 'waking', 'awake', 'leaving', 'settling'])
    expect(reached.get(state)).toBeGreaterThan(100);
});
