/** The edge of the doorbell: one row that rang for nobody, and nobody writes after it. */
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../../support/until.js';
import { holder, whileRinger } from '../ringer.js';
import { OWNED } from '../schema.js';
import { Witness } from '../witness.js';
import type { World } from '../world.js';
import type { Nemesis } from './nemesis.js';

/** The goal: a committed row waits no longer for the other gateways when the ringer has died, in milliseconds. */
export const LONGEST_SILENCE = 250;
/** What fails a campaign: the machine is busy with all the clients that come back from the gateway that died. */
const TOO_LONG = 1_000;
const KEY = OWNED[9] ?? '';
const QUIET = 300;

const killed: Nemesis = {
  name: 'ringer-kill-silent',
  about: 'kill -9 of the ringer when one row is committed that rang for nobody, and no other row follows',
  breaks: ['gateways', 'database', 'stir', 'held', 'locked'],
  lasts: [0, 500],
  weight: 2,
  kills: true,
  async strike({ world, gateway, holdMs, random }) {
    const others = world.gateways.filter((other) => other !== gateway);
    world.team.pace.pause(true);
    const witnesses: Witness[] = [];
    try {
      await world.team.quiet();
      for (const other of others) witnesses.push(await Witness.at(other.url, [`plain:${KEY}`]));
      const killFirst = random.chance(0.5);
      let silent = false;
      let killedAt = 0;
      const kill = () => {
        killedAt = performance.now();
        return gateway.end('SIGKILL');
      };
      const { checksum, committed } = await whileRinger(world, gateway, async (still) => {
        await still();
        const written = await world.team.writeOne(KEY, async () => {
          silent = (await holder(world))?.user === gateway.user;
          if (killFirst) await kill();
        });
        if (!killFirst) await kill();
        return written;
      });
      const arrived = () => witnesses.every(({ arrivals }) => arrivals.has(checksum));
      await until(arrived, { deadlineMs: 10_000, what: 'the silent row to arrive at the other gateways' });
      const waited = Math.max(
        0,
        ...witnesses.map(({ arrivals }) => (arrivals.get(checksum) ?? 0) - Math.max(killedAt, committed)),
      );
      world.silentRows.push(waited);
      const told = `${silent ? 'silent' : 'not silent'}, killed ${killFirst ? 'before' : 'after'} its commit, arrived after ${Math.round(waited)} ms`;
      if (waited > TOO_LONG) throw new Error(told);
      return told;
    } finally {
      for (const witness of witnesses) witness.close();
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
      for (const { url } of world.gateways) witnesses.push(await Witness.at(url, [`plain:${KEY}`]));
      let silent = false;
      let before = 0;
      const { checksum, committed } = await whileRinger(world, gateway, async (still) => {
        await still();
        return world.team.writeOne(KEY, async () => {
          silent = (await holder(world)) !== undefined;
          await until(async () => (await holder(world)) === undefined, { what: 'the gate to be free' });
          await delay(holdMs);
          before = await foundUnannounced(world);
        });
      });
      const arrived = () => witnesses.every(({ arrivals }) => arrivals.has(checksum));
      await until(arrived, { deadlineMs: 10_000, what: 'the silent row to arrive' });
      const waited = Math.max(...witnesses.map(({ arrivals }) => (arrivals.get(checksum) ?? 0) - committed));
      const told = `${silent ? 'silent' : 'not silent'}, arrived after ${Math.round(waited)} ms`;
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
