import { setTimeout as delay } from 'node:timers/promises';
import type { Gateway } from './gateway.js';
import { HELD, OWNED } from './schema.js';
import { Witness } from './witness.js';
import type { Team } from './writers/team.js';

/** Channels with so few rows that none brings along what the one before it left behind. */
const CHANNELS = [...HELD, ...OWNED.slice(8, 10)].map((key) => `plain:${key}`);
const AGAIN = 50;
/** After a fault a gateway may need so long to read again, in milliseconds. */
const GRACE = 1_500;
/** A committed row may wait so long for a gateway while nothing is broken, in milliseconds. */
export const LATEST = 1_000;

/** A time in which something was broken; in milliseconds of `performance.now`. */
export interface Broken {
  readonly from: number;
  readonly to: number;
}

/**
 * Whether a committed row reaches each gateway's clients in time, without another write (I9). Who comes back, and each new row
 * of a channel, brings along what was overlooked; so this watches rare rows on connections that no fault touches.
 */
export class Lateness {
  readonly #team: Team;
  readonly #stop = new AbortController();
  readonly #arrivals = new Map<Gateway, Map<number, number>>();
  readonly #running: Promise<void>[];

  constructor(gateways: readonly Gateway[], team: Team) {
    this.#team = team;
    this.#running = gateways.map((gateway) => this.#follow(gateway));
  }

  async #follow(gateway: Gateway): Promise<void> {
    const { signal } = this.#stop;
    const positions = new Map<string, string>();
    const arrivals = new Map<number, number>();
    this.#arrivals.set(gateway, arrivals);
    const stopped = new Promise((resolve) => signal.addEventListener('abort', resolve));
    while (!signal.aborted) {
      const witness = await Witness.at(gateway.url, CHANNELS, positions).catch(() => null);
      if (witness !== null) await Promise.race([witness.closed, stopped]);
      witness?.close();
      for (const [checksum, at] of witness?.arrivals ?? []) arrivals.set(checksum, at);
      await delay(AGAIN);
    }
  }

  stop(): void {
    this.#stop.abort();
  }

  /** The time each row waited for each gateway while nothing was broken, and the rows that waited too long. */
  async finish(broken: readonly Broken[]): Promise<{ waits: number[]; faults: string[] }> {
    await delay(LATEST);
    this.stop();
    await Promise.all(this.#running);
    const waits: number[] = [];
    const faults: string[] = [];
    for (const [gateway, arrivals] of this.#arrivals) {
      for (const [checksum, committed] of this.#team.rare) {
        const arrived = arrivals.get(checksum);
        const waited = soundTime(committed, arrived ?? performance.now(), broken);
        if (arrived !== undefined) waits.push(waited);
        if (arrived !== undefined && waited <= LATEST) continue;
        const how = arrived === undefined ? 'never reached' : `waited ${Math.round(waited)} ms in sound times for`;
        faults.push(`a committed row (checksum ${checksum}) ${how} ${gateway.name}`);
      }
    }
    return { waits: waits.sort((a, b) => a - b), faults };
  }
}

/** How much of the time between two moments nothing was broken. */
function soundTime(from: number, to: number, broken: readonly Broken[]): number {
  let sound = 0;
  let at = from;
  for (const fault of [...broken].sort((a, b) => a.from - b.from)) {
    if (fault.from > at) sound += Math.max(0, Math.min(fault.from, to) - at);
    at = Math.max(at, fault.to + GRACE);
    if (at >= to) break;
  }
  return Math.max(0, sound + Math.max(0, to - at));
}
