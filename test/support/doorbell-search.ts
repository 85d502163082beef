import type { DoorbellState } from '../../server/doorbell/doorbell.js';
import { WINDOW, type WorldOptions } from './doorbell-options.js';
import { type FakeGateway, World } from './doorbell-world.js';
import { settlePromises } from './fakes.js';

export interface SearchOptions extends Omit<WorldOptions, 'wakeRate' | 'sleepRate'> {
  /** How often each gateway may find that a ring was one of many, and wake. */
  readonly wakings: readonly number[];
  /** Whether the first gateway may die, once, while it is not asleep. */
  readonly dying?: boolean;
}

export interface SearchResult {
  readonly states: number;
  /** Different ways through the states, from the start to an end. */
  readonly orders: bigint;
  /** How often a gateway was seen in each state of its doorbell. */
  readonly reached: Readonly<Record<string, number>>;
  /** An order of moves that strands a row, if there is one: with it the search has ended. */
  readonly stranding: readonly string[] | null;
}

/** So many rings at once wake a gateway, and no fewer: the rings of the moves alone stay below. */
const MANY = 16;
const RATES = { wakeRate: 2 * MANY, sleepRate: 1_000 };

/** Long enough for the next read on the interval, however long it has been settling, and shorter than a window. */
const READ = 60;

/** So often nothing but time may pass before it has to be asleep. */
const PATIENCE = 6;

/** One way from the start to somewhere, and what may come next there. */
export class Walk {
  readonly world: World;
  readonly #options: SearchOptions;
  readonly #woken: number[];
  /** Rows that there were when each gateway last read, and looks that it took in this settling. */
  readonly #looks: { rows: number; settling: number; state: DoorbellState }[];
  #patience = PATIENCE;

  constructor(options: SearchOptions) {
    this.#options = options;
    this.world = new World({ ...options, ...RATES, merging: true });
    this.world.notify(); // earlier writers rang
    this.#woken = options.wakings.map(() => 0);
    this.#looks = options.wakings.map(() => ({ rows: 0, settling: 0, state: 'asleep' }));
  }

  static async along(options: SearchOptions, moves: readonly string[]): Promise<Walk> {
    const walk = new Walk(options);
    await settlePromises();
    for (const move of moves) await walk.take(move);
    return walk;
  }

  /** The moves that are possible now. A read that would change nothing is left out while anything else may happen. */
  moves(): string[] {
    const { writers, gateways, pending } = this.world;
    const moves = [...pending.keys()];
    writers.forEach(({ state, rows }, which) => {
      const earlier = writers[which - 1];
      // Writers are alike: the one that inserts first is the first.
      const turn = earlier === undefined || earlier.state !== 'idle' || earlier.rows > 0;
      const step = { idle: 'inserts', open: 'probes', probed: 'commits' }[state];
      if (rows === 0 && turn) moves.push(`w${which} ${step}`);
    });
    const alive = gateways.filter(({ excused }) => excused === null);
    for (const gateway of alive) {
      const { name, index, doorbell } = gateway;
      const { state } = doorbell;
      const rung = pending.has(`${name} hears a ring`);
      const light = state === 'asleep' || state === 'settling';
      if (rung && light && (this.#woken[index] ?? 0) < (this.#options.wakings[index] ?? 0)) moves.push(`${name} wakes`);
      if (this.#reads(gateway) || state === 'asleep') continue;
      const looks = this.#looks[index];
      const ended = state === 'settling' && (looks?.settling === 0 || looks?.rows !== this.world.rows.size);
      if (gateway.unread.length > 0 || ended) moves.push(`${name} reads again`);
      if (state === 'waking' || state === 'awake') moves.push(`${name} finds it calm`);
    }
    const [first] = gateways;
    const busy = first !== undefined && first.excused === null && first.doorbell.state !== 'asleep';
    if (this.#options.dying && busy) moves.push('g0 dies');
    if (moves.length > 0) this.#patience = PATIENCE;
    else {
      const restless = alive.find(({ doorbell }) => doorbell.state !== 'asleep');
      if (restless !== undefined && this.#patience-- === 0) throw new Error(`${restless.name} does not fall asleep`);
      if (restless !== undefined) moves.push(`${restless.name} reads again`);
    }
    return moves;
  }

  async take(move: string): Promise<void> {
    const [who = '', ...what] = move.split(' ');
    const { world } = this;
    const which = Number(who.slice(1));
    const gateway = who.startsWith('g') ? world.gateways[which] : undefined;
    if (gateway === undefined) world.write(which);
    else if (what[0] === 'wakes') {
      world.pending.delete(`${who} hears a ring`);
      this.#woken[which] = (this.#woken[which] ?? 0) + 1;
      gateway.hear(MANY);
    } else if (what[0] === 'dies') gateway.die();
    else if (move === `${who} reads again`) {
      const looks = this.#looks[which];
      if (looks !== undefined) looks.rows = world.rows.size;
      if (looks !== undefined && gateway.doorbell.state === 'settling') looks.settling += 1;
      await gateway.tick(READ);
    } else if (move === `${who} finds it calm`) await gateway.tick(WINDOW);
    else world.arrive(move);
    await settlePromises();
    for (const gateway of world.gateways) {
      const { doorbell, index } = gateway;
      const looks = this.#looks[index];
      if (looks !== undefined && doorbell.state !== 'settling') looks.settling = 0;
      const { state } = doorbell;
      const entered = state !== looks?.state;
      if (gateway.excused !== null || looks === undefined || this.#reads(gateway)) continue;
      // While nothing is being read, one doorbell is like another in the same state, whatever it was told before.
      looks.state = state;
      if (state === 'asleep') {
        await gateway.clock.turn(WINDOW);
        gateway.told = 'asleep ';
        looks.rows = 0;
      } else if (state !== 'settling' || entered) {
        gateway.told = `${state} ${gateway.clock.now() - gateway.counting} `;
      }
    }
  }

  /** Two walks with the same key go on alike: a doorbell decides by nothing but what it was told. */
  key(): string {
    const { writers, gateways, pending, rows, queue, nextXid, xmax } = this.world;
    const parts = [
      ...writers.map(({ state, xid, trusted, rows }) => `${state} ${xid} ${trusted} ${rows}`),
      ...gateways.map(({ told, seen, forwarded, excused }) =>
        excused === null ? `${told}|${[...seen].sort()}|${[...forwarded].sort()}` : `dead ${[...excused].sort()}`,
      ),
      [...pending.keys()].sort().join(),
      [...rows].map(([xid, trusted]) => `${xid} ${trusted}`).sort(),
      queue.map(({ by }) => by),
      nextXid,
      xmax,
      this.#woken,
      this.#looks.map(({ rows, settling }) => `${rows} ${settling}`),
    ];
    return parts.join('\n');
  }

  #reads({ name }: FakeGateway): boolean {
    const steps = ['takes a number', 'takes a snapshot', 'has read', 'rings the others'];
    return steps.some((step) => this.world.pending.has(`${name} ${step}`));
  }
}

interface State {
  readonly next: Map<string, State>;
  ends: boolean;
}

interface Turn {
  readonly from: State | null;
  readonly moves: readonly string[];
}

/** Goes through every order of the moves. `atEnd` looks at a world in which nothing is left to happen. */
export async function search(options: SearchOptions, atEnd: (world: World) => Promise<boolean>): Promise<SearchResult> {
  const states = new Map<string, State>();
  const reached: Record<string, number> = {};
  const turns: Turn[] = [{ from: null, moves: [] }];
  let first: State | null = null;
  const result = (stranding: readonly string[] | null): SearchResult => ({
    states: states.size,
    orders: first === null ? 0n : ways(first, new Map()),
    reached,
    stranding,
  });
  for (let turn = turns.pop(); turn !== undefined; turn = turns.pop()) {
    let { from, moves } = turn;
    const walk = await Walk.along(options, moves);
    for (;;) {
      const key = walk.key();
      const known = states.get(key);
      const state = known ?? { next: new Map<string, State>(), ends: false };
      from?.next.set(moves.at(-1) ?? '', state);
      first ??= state;
      if (known !== undefined) break;
      states.set(key, state);
      for (const { doorbell } of walk.world.gateways) reached[doorbell.state] = (reached[doorbell.state] ?? 0) + 1;
      const [next, ...others] = walk.moves();
      if (next === undefined) {
        state.ends = true;
        if (await atEnd(walk.world)) return result(moves);
        break;
      }
      for (const other of others) turns.push({ from: state, moves: [...moves, other] });
      from = state;
      moves = [...moves, next];
      await walk.take(next);
    }
  }
  return result(null);
}

function ways(state: State, known: Map<State, bigint>): bigint {
  if (state.ends) return 1n;
  let sum = known.get(state);
  if (sum === undefined) {
    sum = 0n;
    for (const next of state.next.values()) sum += ways(next, known);
    known.set(state, sum);
  }
  return sum;
}
