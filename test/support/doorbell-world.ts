import { Doorbell } from '../../server/doorbell/doorbell.js';
import { Metrics } from '../../server/ground/metrics.js';
import { Unavailable } from '../../server/ground/refusal.js';
import type { Gate, ReadableTail, TailRead } from '../../server/ports/doorbell.js';
import { INTERVAL, NEVER, type Visit, WINDOW, type WorldOptions, type Writer } from './doorbell-options.js';
import { FakeClock, settlePromises } from './fakes.js';

const metrics = new Metrics();

/**
 * Postgres, as the doorbell and the triggers of the writers see it, and the gateways with their real doorbells.
 * Everything that takes time is a move that is taken later, or never.
 */
export class World {
  readonly gateways: readonly FakeGateway[];
  readonly writers: readonly Writer[];
  readonly options: WorldOptions;
  nextXid = 100n;
  /** As in Postgres: one above the newest transaction that has ENDED. */
  xmax = 100n;
  /** Numbers of committed transactions, and whom their writers left the ringing to. */
  readonly rows = new Map<bigint, readonly number[]>();
  /** The sessions that hold the gate (the first) or queue for it. */
  readonly queue: Visit[] = [];
  /** What is on its way. */
  readonly pending = new Map<string, () => void>();

  constructor(options: WorldOptions) {
    this.options = options;
    this.writers = Array.from({ length: options.writers }, () => ({ state: 'idle', xid: 0n, trusted: [], rows: 0 }));
    this.gateways = Array.from({ length: options.gateways ?? 1 }, (_, index) => new FakeGateway(this, index));
  }

  get locked(): boolean {
    return this.queue.length > 0;
  }

  later(name: string, move: () => void): void {
    let free = name;
    while (this.pending.has(free)) free += '+';
    this.pending.set(free, move);
  }

  /** Something that is on its way arrives: this, or the oldest. */
  arrive(name = [...this.pending.keys()][0]): void {
    const move = this.pending.get(name ?? '');
    this.pending.delete(name ?? '');
    move?.();
  }

  async arriveAll(): Promise<void> {
    for (; this.pending.size > 0; await settlePromises()) this.arrive();
  }

  /** A writer takes its next step: inserts, probes, commits. */
  write(which: number): void {
    const writer = this.writers[which % this.writers.length];
    if (writer === undefined) return;
    if (writer.state === 'idle') {
      writer.state = 'open';
      writer.xid = this.nextXid++;
    } else if (writer.state === 'open') {
      writer.state = 'probed';
      writer.trusted = this.queue.map(({ by }) => by);
    } else {
      writer.state = 'idle';
      writer.rows += 1;
      this.end(writer.xid);
      this.rows.set(writer.xid, writer.trusted);
      if (writer.trusted.length === 0) this.notify();
    }
  }

  /** Every writer ends what it began, and begins nothing any more. */
  finish(order: number): void {
    const which = this.writers.map((_, index) => index);
    if (order % 2 === 1) which.reverse();
    for (const writer of which) while (this.writers[writer]?.state !== 'idle') this.write(writer);
  }

  notify(but = -1): void {
    for (const gateway of this.gateways) {
      const ring = `${gateway.name} hears a ring`;
      if (gateway.excused !== null || gateway.index === but) continue;
      if (!this.options.merging || !this.pending.has(ring)) this.later(ring, () => gateway.hear());
    }
  }

  end(xid: bigint): void {
    if (xid >= this.xmax) this.xmax = xid + 1n;
  }

  /** A transaction number that was never used. */
  number(): bigint {
    const { settling = 'number' } = this.options;
    if (settling === 'nothing') return 0n;
    if (settling === 'snapshot') return this.xmax - 1n;
    const xid = this.nextXid++;
    this.end(xid);
    return xid;
  }

  snapshot(): bigint {
    // The number of a transaction above xmax is hidden: for the snapshot it has not begun.
    const open = this.writers.filter(({ state, xid }) => state !== 'idle' && xid < this.xmax);
    return open.reduce((lowest, { xid }) => (xid < lowest ? xid : lowest), this.xmax);
  }

  lock(visit: Visit): void {
    visit.lock = 'taken';
    this.queue.push(visit);
    if (this.queue[0] === visit) this.#grant();
  }

  free(visit: Visit): void {
    const { by, lock } = visit;
    visit.lock = 'free';
    for (const step of ['asks for the gate', 'hears that it has the gate']) this.pending.delete(`g${by} ${step}`);
    if (lock !== 'taken') return;
    const held = this.queue[0] === visit;
    this.queue.splice(this.queue.indexOf(visit), 1);
    if (held) this.#grant();
  }

  /** The session that holds the gate ends, and its gateway notices later. */
  lose(): void {
    const [visit] = this.queue;
    if (visit === undefined) return;
    this.free(visit);
    this.later(`g${visit.by} hears that it lost the gate`, () => this.gateways[visit.by]?.lose(visit));
  }

  #grant(): void {
    const [visit] = this.queue;
    if (visit !== undefined) this.later(`g${visit.by} hears that it has the gate`, () => visit.onTaken());
  }
}

/** A gateway with a real doorbell. */
export class FakeGateway implements Gate, ReadableTail {
  readonly name: string;
  readonly index: number;
  readonly clock = new FakeClock();
  readonly doorbell: Doorbell;
  /** All that the doorbell was told so far, in order: it decides by nothing else. */
  told = '';
  reads = 0;
  /** It settles, and has its number: of transactions that begin after that it hears by rings alone. */
  numbered = false;
  #settlings = 0;
  /** When the doorbell began to count rings and commits anew, as it does once a window. */
  counting = Number.NEGATIVE_INFINITY;
  /** Rows that it has read, and those that it has rung the others for. */
  readonly seen = new Set<bigint>();
  readonly forwarded = new Set<bigint>();
  /** Once it has died: what it alone was trusted with by then, if the survivor may not notice. */
  excused: ReadonlySet<bigint> | null = null;
  readonly #world: World;
  readonly #born = this.clock.now();
  #visit: Visit | null = null;

  constructor(world: World, index: number) {
    this.#world = world;
    this.index = index;
    this.name = `g${index}`;
    const { wakeRate, sleepRate } = world.options;
    this.doorbell = new Doorbell({
      tail: this,
      gate: this,
      clock: this.clock,
      metrics,
      wakeRate,
      sleepRate,
      awakeInterval: INTERVAL,
      safetyInterval: NEVER,
    });
  }

  get unread(): bigint[] {
    return [...this.#world.rows.keys()].filter((xid) => !this.seen.has(xid));
  }

  hear(times = 1): void {
    this.told += `ring${times} `;
    this.#count();
    for (let ring = 0; ring < times; ring += 1) this.doorbell.ring();
  }

  take({ onTaken, onLost }: { onTaken(): void; onLost(): void }): void {
    if (this.#visit !== null) throw new Error('the gate was asked for twice');
    const visit: Visit = {
      by: this.index,
      lock: 'asked',
      onTaken: () => {
        if (this.#visit !== visit) return;
        this.told += 'taken ';
        onTaken();
      },
      onLost: () => {
        this.told += 'lost ';
        this.#settles();
        onLost();
      },
    };
    this.#visit = visit;
    this.numbered = false;
    this.#later('asks for the gate', () => this.#world.lock(visit));
  }

  renew(): void {}

  leave(): Promise<void> {
    const visit = this.#visit;
    this.#visit = null;
    return new Promise((resolve) => {
      const left = () => {
        this.told += 'left ';
        this.#settles();
        resolve();
      };
      if (visit === null) return left();
      this.#later('unlocks', () => {
        this.#world.free(visit);
        this.#answer('hears that it left', left);
      });
    });
  }

  lose(visit: Visit): void {
    if (this.#visit !== visit) return;
    this.#visit = null;
    visit.onLost();
  }

  /** Kill -9. */
  die(): void {
    const { writers, rows, pending, queue, gateways } = this.#world;
    const probed = writers.filter(({ state }) => state === 'probed');
    const trusted = [...rows, ...probed.map(({ xid, trusted }) => [xid, trusted] as const)]
      .filter(([xid, by]) => by.length === 1 && by[0] === this.index && !this.forwarded.has(xid))
      .map(([xid]) => xid);
    // Who takes a number after this waits for all of them.
    const settles = gateways.some(
      ({ index, doorbell, numbered }) => index !== this.index && doorbell.state !== 'asleep' && !numbered,
    );
    this.excused = new Set(settles ? [] : trusted);
    for (const visit of [...queue]) if (visit.by === this.index) this.#world.free(visit);
    for (const name of [...pending.keys()]) if (name.startsWith(`${this.name} `)) pending.delete(name);
  }

  /** Lets the next read on the interval begin, or the window end as well. */
  async tick(time: number): Promise<void> {
    this.told += `wait${time} `;
    await this.clock.turn(time);
  }

  /** Nothing new happens. Then whatever was committed is read soon, although some writers are still open. */
  async rest(): Promise<void> {
    // It looks for a transaction that has been open for long a hundredth of that time later at the most.
    const soon = INTERVAL + (this.clock.now() - this.#born) / 100;
    // Two reads: one that was under way may have failed.
    for (let read = 0; read < 2; read += 1) {
      await this.#world.arriveAll();
      await this.clock.turn(soon);
    }
    await this.#world.arriveAll();
    if (this.unread.length > 0) throw new Error(`I9: a row is stranded, the gateway is ${this.doorbell.state}`);
  }

  /** Lets go of the gate for good, as far as it knows. */
  #settles(): void {
    this.#settlings += 1;
    this.numbered = false;
  }

  #answer(name: string, move: () => void): void {
    if (this.#world.options.prompt) move();
    else this.#later(name, move);
  }

  #later(name: string, move: () => void): void {
    if (this.excused === null) this.#world.later(`${this.name} ${name}`, move);
  }

  #count(): void {
    if (this.clock.now() - this.counting >= WINDOW - 1) this.counting = this.clock.now();
  }

  /** Takes its snapshot some time after it was asked for, and answers some time after that, or fails. */
  read(): Promise<TailRead> {
    return new Promise((resolve, reject) => {
      this.#later('takes a snapshot', () => {
        this.reads += 1;
        const found = this.unread;
        const xmin = this.#world.snapshot();
        if (this.#world.options.failing && this.reads % 10 === 9) {
          this.#later('fails to read', () => {
            reject(new Unavailable('away'));
            this.#later('hears that it is connected', () => this.hear());
          });
          return;
        }
        this.#answer('has read', () => {
          this.told += `read${found.length},${xmin} `;
          this.#count();
          for (const xid of found) this.seen.add(xid);
          resolve({ commits: found.length, xmin });
        });
      });
    });
  }

  newestTransaction(): Promise<bigint> {
    const settling = this.#settlings;
    return new Promise((resolve) => {
      this.#later('takes a number', () => {
        const xid = this.#world.number();
        this.numbered = settling === this.#settlings && this.doorbell.state === 'settling';
        this.told += `number${xid} `;
        resolve(xid);
      });
    });
  }

  ring(): Promise<void> {
    if (this.#world.gateways.length === 1) return Promise.resolve();
    return new Promise((resolve) => {
      this.#later('rings the others', () => {
        for (const xid of this.seen) this.forwarded.add(xid);
        this.#world.notify(this.index);
        this.told += 'forwarded ';
        resolve();
      });
    });
  }
}
