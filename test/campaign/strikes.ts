import { makeRandom } from '../support/random.js';
import type { ClientHost } from './clients/host.js';
import type { Broken } from './lateness.js';
import type { Part } from './nemeses/nemesis.js';
import type { Planned } from './schedule.js';
import type { World } from './world.js';

/** One fault that was. Times in milliseconds since the faults began. */
export interface Struck {
  readonly name: string;
  readonly at: number;
  readonly lasted: number;
  readonly told: string;
  /** The world did not become whole again, or what was to be seen was not. */
  readonly error?: string;
}

const AT_ONCE = 2;
const WRITERS: readonly Part[] = ['held', 'locked'];

/** Lets the planned faults come when they are due, two at once at the most, and never two that break the same part. */
export class Strikes {
  readonly struck: Struck[] = [];
  /** When something was broken, by the clock of this process. */
  readonly broken: Broken[] = [];
  readonly #world: World;
  readonly #clients: ClientHost;
  readonly #waiting: Planned[];
  readonly #busy = new Set<string>();
  readonly #running = new Set<Promise<void>>();
  #from = 0;

  constructor(world: World, clients: ClientHost, planned: readonly Planned[]) {
    this.#world = world;
    this.#clients = clients;
    this.#waiting = [...planned];
  }

  /** Milliseconds since the faults began, without the time that was not for faults. */
  get elapsed(): number {
    return performance.now() - this.#from;
  }

  begin(): void {
    this.#from = performance.now();
  }

  /** Starts what is due. */
  tick(): void {
    const now = performance.now() - this.#from;
    for (const planned of [...this.#waiting]) {
      if (planned.at > now || this.#running.size >= AT_ONCE) return;
      const parts = this.#partsOf(planned);
      if (parts.some((part) => this.#busy.has(part))) continue;
      this.#waiting.splice(this.#waiting.indexOf(planned), 1);
      const running: Promise<void> = this.#strike(planned, parts).finally(() => this.#running.delete(running));
      this.#running.add(running);
    }
  }

  /** Whether a fault still waits that was due before `at`. */
  late(at: number): boolean {
    return this.#waiting.some((planned) => planned.at < at);
  }

  /** Resolves when no fault is left. */
  async rest(): Promise<void> {
    await Promise.all(this.#running);
  }

  /** Time that was not for faults. */
  skip(ms: number): void {
    this.#from += ms;
  }

  async #strike({ nemesis, gateway, holdMs, seed }: Planned, parts: readonly string[]): Promise<void> {
    const target = this.#world.gateways[gateway];
    if (target === undefined) return;
    for (const part of parts) this.#busy.add(part);
    const at = performance.now();
    let told = '';
    let error: string | undefined;
    try {
      told = await nemesis.strike({
        world: this.#world,
        clients: this.#clients,
        gateway: target,
        random: makeRandom(seed),
        holdMs,
      });
    } catch (caught) {
      error = (caught as Error).message;
    } finally {
      for (const part of parts) this.#busy.delete(part);
    }
    // What writers do among themselves breaks nothing.
    if (!nemesis.breaks.every((part) => WRITERS.includes(part))) this.broken.push({ from: at, to: performance.now() });
    const lasted = performance.now() - at;
    this.struck.push({
      name: nemesis.name,
      at: at - this.#from,
      lasted,
      told,
      ...(error === undefined ? {} : { error }),
    });
    this.#world.log(
      `${nemesis.name.padEnd(20)} ${(lasted / 1000).toFixed(1).padStart(5)} s  ${error ? `FAILED: ${error}` : told}`,
    );
  }

  /** A fault of one gateway does not keep the others from being struck. */
  #partsOf({ nemesis, gateway }: Planned): string[] {
    return nemesis.breaks.flatMap((part) => {
      if (part === 'gateways') return this.#world.gateways.map(({ name }) => name);
      return part === 'gateway' ? [`gateway ${gateway}`] : [part];
    });
  }
}
