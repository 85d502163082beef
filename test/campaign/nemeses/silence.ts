/** The edge of the doorbell: one row that rang for nobody, and nobody writes after it. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../../support/until.js';
import type { Gateway } from '../gateway.js';
import { holder, whileRinger } from '../ringer.js';
import { OWNED } from '../schema.js';
import { Witness } from '../witness.js';
import type { SilentRow, World } from '../world.js';
import type { Nemesis } from './nemesis.js';

/** The goal: a committed row waits no longer for the other gateways when the ringer has died, in milliseconds. */
export const LONGEST_SILENCE = 250;
/** What fails a campaign: the machine is busy with all the clients that come back from the gateway that died. */
const TOO_LONG = 1_000;
const KEY = OWNED[9] ?? '';
const QUIET = 300;
const ATTEMPTS = 5;
/** A gateway that comes back to many clients answers late; in milliseconds. */
const LAG_TIMEOUT = 2_000;

interface Row {
  readonly checksum: number;
  /** In milliseconds of `performance.now`. */
  readonly committed: number;
}

/**
 * One row that rings for nobody, because the gateway holds the gate when it is inserted. `between` runs before its COMMIT,
 * `after` behind it. Now and then the gateway falls asleep just before: then the row rings, and another one is written.
 */
async function writeSilent(
  world: World,
  gateway: Gateway,
  between: () => Promise<void>,
  after: () => Promise<unknown> = async () => {},
): Promise<Row> {
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const row = await whileRinger(world, gateway, async (still) => {
      await still();
      let silent = false;
      const written = await world.team.writeOne(KEY, async () => {
        silent = (await holder(world))?.user === gateway.user;
        if (silent) await between();
      });
      if (silent) await after();
      return silent ? written : null;
    });
    if (row !== null) return row;
  }
  throw new Error(`none of ${ATTEMPTS} rows was silent`);
}

const killed: Nemesis = {
  name: 'ringer-kill-silent',
  about: 'kill -9 of the ringer when one row is committed that rang for nobody, and no other row follows',
  breaks: ['gateways', 'database', 'stir', 'held', 'locked'],
  lasts: [0, 500],
  weight: 2,
  kills: true,
  missing: ({ gateways }) => (gateways.length > 1 ? null : 'needs two gateways'),
  async strike({ world, gateway, holdMs, random }) {
    const others = world.gateways.filter((other) => other !== gateway);
    world.team.pace.pause(true);
    const witnesses = new Map<Gateway, Witness>();
    const loop = monitorEventLoopDelay({ resolution: 1 });
    try {
      await world.team.quiet();
      for (const other of others) witnesses.set(other, await Witness.soon(other.url, [`plain:${KEY}`]));
      // From here on, for nothing may come between the row and the end of its ringer.
      await Promise.all(others.map((other) => other.sample(LAG_TIMEOUT)));
      loop.enable();
      const killFirst = random.chance(0.5);
      let killedAt = 0;
      const kill = async () => {
        killedAt = performance.now();
        await gateway.end('SIGKILL');
      };
      const { checksum, committed } = killFirst
        ? await writeSilent(world, gateway, kill)
        : await writeSilent(world, gateway, async () => {}, kill);
      const arrived = () => [...witnesses.values()].every(({ arrivals }) => arrivals.has(checksum));
      await until(arrived, { deadlineMs: 10_000, what: 'the silent row to arrive at the other gateways' });
      loop.disable();
      await Promise.all(others.map((other) => other.sample(LAG_TIMEOUT)));
      const from = Math.max(killedAt, committed);
      const rows = [...witnesses].map(([other, { arrivals }]): SilentRow => {
        const at = arrivals.get(checksum) ?? 0;
        return {
          waited: Math.max(0, at - from),
          gateway: other.name,
          gatewayLag: other.lagBetween(from, Math.max(from, at)),
          campaignLag: loop.max / 1e6,
        };
      });
      const last = rows.reduce((slowest, row) => (row.waited > slowest.waited ? row : slowest));
      world.silentRows.push(last);
      const told = `killed ${killFirst ? 'before' : 'after'} its commit, arrived after ${Math.round(last.waited)} ms`;
      if (last.waited > TOO_LONG) throw new Error(told);
      return told;
    } finally {
      loop.disable();
      for (const witness of witnesses.values()) witness.close();
      world.team.pace.pause(false);
      await delay(Math.min(holdMs, QUIET));
      if (!gateway.running) await gateway.start();
      await gateway.ready();
    }
  },
};

const asleep: Nemesis = {
  name: 'commit-asleep',
  about: 'one row that rang for nobody is committed when the gate is free again, and no other row follows',
  breaks: ['gateways', 'database', 'stir', 'held', 'locked'],
  lasts: [0, 1_000],
  weight: 2,
  async strike({ world, gateway, holdMs }) {
    world.team.pace.pause(true);
    const witnesses: Witness[] = [];
    try {
      await world.team.quiet();
      for (const { url } of world.gateways) witnesses.push(await Witness.soon(url, [`plain:${KEY}`]));
      let before = 0;
      const { checksum, committed } = await writeSilent(world, gateway, async () => {
        await until(async () => (await holder(world)) === undefined, { what: 'the gate to be free' });
        await delay(holdMs);
        before = await foundUnannounced(world);
      });
      const arrived = () => witnesses.every(({ arrivals }) => arrivals.has(checksum));
      await until(arrived, { deadlineMs: 10_000, what: 'the silent row to arrive' });
      const waited = Math.max(...witnesses.map(({ arrivals }) => (arrivals.get(checksum) ?? 0) - committed));
      const told = `arrived after ${Math.round(waited)} ms`;
      if (waited > TOO_LONG) throw new Error(told);
      await delay(QUIET);
      // Safety reads are for ringers that die or hang. Here none did.
      if ((await foundUnannounced(world)) > before) throw new Error(`${told}, but a safety read had to find it`);
      return told;
    } finally {
      for (const witness of witnesses) witness.close();
      world.team.pace.pause(false);
    }
  },
};

async function foundUnannounced({ gateways }: World): Promise<number> {
  await Promise.all(gateways.map((gateway) => gateway.sample()));
  return gateways.reduce((sum, { life }) => sum + (life?.metrics.unannounced_reads_total ?? 0), 0);
}

export const silenceNemeses: readonly Nemesis[] = [killed, asleep];
