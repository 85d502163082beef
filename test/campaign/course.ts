import { setTimeout as delay } from 'node:timers/promises';
import { makeRandom } from '../support/random.js';
import type { ClientHost } from './clients/host.js';
import type { Gateway } from './gateway.js';
import type { CampaignOptions } from './options.js';
import { makeSchedule } from './schedule.js';
import { Strikes } from './strikes.js';
import type { World } from './world.js';

/** In milliseconds. A campaign of some minutes has long faults, and long times without any at both ends and in the middle. */
const TICK = 100;
const SAMPLE = 1_000;
const TELL = 10_000;
const CALM_SHARE = 1 / 45;
const LONGEST_CALM = 20_000;
const SHORTEST_CALM = 2_500;
const LONG_CAMPAIGN = 3 * 60_000;
const PACE_LONG = { every: [3_000, 8_000], longestMs: 30_000 } as const;
const PACE_SHORT = { every: [1_500, 3_500], longestMs: 3_000 } as const;

/** A fault that was left out. */
export interface Skipped {
  readonly name: string;
  readonly why: string;
}

/** The memory of one process, early and late in its life, under the same load; in bytes. */
export interface MemoryPair {
  readonly gateway: string;
  readonly before: number;
  after: number | null;
}

/** The order of events: calm, faults, calm, faults, calm. */
export class Course {
  readonly strikes: Strikes;
  /** Faults that cannot strike here. */
  readonly skipped: Skipped[] = [];
  readonly memory: MemoryPair[] = [];
  seconds = 0;
  readonly #world: World;
  readonly #host: ClientHost;
  readonly #options: CampaignOptions;
  readonly #durationMs: number;
  readonly #calmMs: number;

  constructor(world: World, host: ClientHost, options: CampaignOptions) {
    this.#world = world;
    this.#host = host;
    this.#options = options;
    const whole = options.minutes * 60_000;
    this.#calmMs = Math.max(SHORTEST_CALM, Math.min(LONGEST_CALM, whole * CALM_SHARE));
    this.#durationMs = Math.max(0, whole - 3 * this.#calmMs);
    const usable = options.nemeses.filter((nemesis) => {
      const missing = nemesis.missing?.(world) ?? null;
      if (missing === null) return true;
      this.skipped.push({ name: nemesis.name, why: missing });
      options.log(`${nemesis.name} is left out: ${missing}`);
      return false;
    });
    const pace = whole >= LONG_CAMPAIGN ? PACE_LONG : PACE_SHORT;
    // So the first round ends before the time does, and no second one begins.
    const slot = Math.ceil(this.#durationMs / (usable.length + 1));
    const planned = makeSchedule({
      nemeses: usable,
      gateways: world.gateways.length,
      durationMs: this.#durationMs,
      random: makeRandom(options.seed).branch('faults'),
      ...pace,
      ...(options.once ? { every: [slot, slot] as const } : {}),
    });
    this.strikes = new Strikes(world, host, planned);
  }

  async run(): Promise<void> {
    const from = performance.now();
    const { gateways, team } = this.#world;
    const even = gateways.filter(({ index }) => index % 2 === 0);
    const odd = gateways.filter(({ index }) => index % 2 === 1);
    const warm = await this.#calm(even);
    this.strikes.begin();
    await this.#faults(this.#durationMs / 2);
    const half = performance.now();
    // New processes, which live from here to the end.
    for (const gateway of odd) {
      await gateway.end('SIGTERM');
      await gateway.start();
    }
    this.strikes.broken.push({ from: half, to: performance.now() });
    const middle = await this.#calm(gateways);
    for (const gateway of even) this.#pair(gateway, warm, middle);
    this.strikes.skip(performance.now() - half);
    await this.#faults(this.#durationMs);
    const end = await this.#calm(odd);
    for (const gateway of odd) this.#pair(gateway, middle, end);
    await team.finish();
    this.seconds = (performance.now() - from) / 1000;
  }

  #pair(gateway: Gateway, before: ReadonlyMap<Gateway, Sample>, after: ReadonlyMap<Gateway, Sample>): void {
    const [first, last] = [before.get(gateway), after.get(gateway)];
    if (first === undefined || last === undefined || first.pid !== last.pid) return;
    this.memory.push({ gateway: gateway.name, before: first.bytes, after: last.bytes });
  }

  async #faults(until: number): Promise<void> {
    const { log, signal } = this.#options;
    let sampled = 0;
    let told = performance.now();
    // Those that had to wait for others still come: each gateway is ended in its own half only.
    while (!signal.aborted && (this.strikes.elapsed < until || this.strikes.late(until))) {
      this.strikes.tick();
      await delay(TICK);
      const now = performance.now();
      if (now - sampled > SAMPLE) {
        sampled = now;
        await Promise.all(this.#world.gateways.map((gateway) => gateway.sample()));
      }
      if (now - told < TELL) continue;
      told = now;
      const { deliveries, connected, lagMs } = await this.#host.ask();
      const rows = this.#world.team.all.reduce((sum, { ledger }) => sum + ledger.last, 0);
      log(`    ${rows} rows, ${deliveries} deliveries, ${connected} clients connected, lag ${lagMs.toFixed(0)} ms`);
    }
    await this.strikes.rest();
  }

  /** No faults, all clients spread anew, rows at an even pace: the memory then can be compared with that of another calm. */
  async #calm(measured: readonly Gateway[]): Promise<ReadonlyMap<Gateway, Sample>> {
    const { gateways, team } = this.#world;
    for (const gateway of gateways) {
      if (!gateway.running) await gateway.start(); // it has ended by itself, which is told at the end
      await gateway.ready();
      gateway.front.reset();
    }
    team.pace.even(true);
    const readings = new Map<Gateway, number[]>(measured.map((gateway) => [gateway, []]));
    const end = performance.now() + (this.#options.signal.aborted ? 0 : this.#calmMs);
    do {
      await delay(this.#calmMs / 20);
      await Promise.all(gateways.map((gateway) => gateway.sample()));
      for (const [gateway, bytes] of readings) bytes.push(gateway.life?.memory.at(-1)?.bytes ?? 0);
    } while (performance.now() < end);
    team.pace.even(false);
    return new Map(
      [...readings].map(([gateway, bytes]) => [gateway, { pid: gateway.pid, bytes: median(bytes.slice(-10)) }]),
    );
  }
}

interface Sample {
  readonly pid: number;
  readonly bytes: number;
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;
}
