/** What happens to PostgreSQL and to the sessions in it. */
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../../support/until.js';
import type { Gateway } from '../gateway.js';
import { whileRinger } from '../ringer.js';
import { PLAIN_CHANNELS } from '../schema.js';
import { Witness } from '../witness.js';
import type { World } from '../world.js';
import type { Nemesis } from './nemesis.js';

const SESSIONS = ['tail', 'listener', 'gate', 'pages'] as const;

async function allReady({ gateways }: World): Promise<void> {
  await Promise.all(gateways.map((gateway) => gateway.ready()));
}

async function terminate(world: World, gateway: Gateway, session: string): Promise<string> {
  let asked = 0;
  const ended = await until(
    async () => {
      const found = await gateway.backends(session);
      if (found.length > 0) return found;
      // The sessions for pages are opened when a page is asked for that is not in memory.
      const channel = PLAIN_CHANNELS[asked++ % PLAIN_CHANNELS.length] ?? '';
      await Witness.at(gateway.url, [channel], new Map([[channel, 'start']])).then(
        (witness) => witness.close(),
        () => {},
      );
      return null;
    },
    { what: `a session ${session} of ${gateway.name} to terminate` },
  );
  await world.database.query('SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) pid', [ended]);
  await until(async () => !(await gateway.backends(session)).some((pid) => ended.includes(pid)), {
    what: `the sessions ${session} of ${gateway.name} to end`,
  });
  await gateway.ready();
  return `${ended.length} of ${gateway.name} (${session})`;
}

export const postgresNemeses: readonly Nemesis[] = [
  {
    name: 'postgres-fast',
    about: 'PostgreSQL is restarted, fast',
    breaks: ['database'],
    lasts: [0, 1_000],
    async strike({ world, holdMs }) {
      await world.database.restart('fast', holdMs);
      await allReady(world);
      return '';
    },
  },
  {
    name: 'postgres-immediate',
    about: 'PostgreSQL is restarted, immediate: it recovers as after a crash',
    breaks: ['database'],
    lasts: [0, 1_000],
    async strike({ world, holdMs }) {
      await world.database.restart('immediate', holdMs);
      await allReady(world);
      return '';
    },
  },
  {
    name: 'postgres-down',
    about: 'PostgreSQL is down for 30 seconds',
    breaks: ['database'],
    lasts: [30_000, 30_000],
    weight: 0.5,
    async strike({ world, holdMs, random }) {
      await world.database.restart(random.pick(['fast', 'immediate'] as const), holdMs);
      await allReady(world);
      return '';
    },
  },
  {
    name: 'backend-terminated',
    about: 'the sessions of a gateway of one kind are terminated: tail, listener, gate or pages',
    breaks: ['gateway', 'database', 'stir'],
    lasts: [0, 0],
    weight: 2,
    strike({ world, gateway, random }) {
      const session = random.pick(SESSIONS);
      const strike = () => terminate(world, gateway, session);
      // A gateway that sleeps may have no session for the gate.
      return session === 'gate' ? whileRinger(world, gateway, strike) : strike();
    },
  },
  {
    name: 'backends-terminated',
    about: 'all sessions of all gateways and writers are terminated at once',
    breaks: ['gateway', 'database', 'stir'],
    lasts: [0, 0],
    async strike({ world }) {
      const { database } = world;
      const ended = await database.excuse('all sessions were terminated', () =>
        database.query<{ ended: number }>(
          `SELECT count(pg_terminate_backend(pid))::int AS ended FROM pg_stat_activity
            WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`,
        ),
      );
      await allReady(world);
      return `${ended[0]?.ended} sessions`;
    },
  },
  {
    name: 'backend-pause',
    about: 'SIGSTOP of the session that reads the tail, in PostgreSQL, for 1 to 8 seconds',
    breaks: ['gateway', 'database'],
    lasts: [1_000, 8_000],
    async strike({ world, gateway, holdMs }) {
      const pid = await stopIdle(world, gateway);
      try {
        await delay(holdMs);
      } finally {
        process.kill(pid, 'SIGCONT');
      }
      await gateway.ready();
      return gateway.name;
    },
  },
];

/** A session that stands still inside a statement may hold a page that writers need, which is not the gateway's doing. */
async function stopIdle(world: World, gateway: Gateway): Promise<number> {
  return until(
    async () => {
      const [pid] = await gateway.backends('tail');
      if (pid === undefined) return null;
      process.kill(pid, 'SIGSTOP');
      const [found] = await world.database.query<{ state: string }>(
        'SELECT state FROM pg_stat_activity WHERE pid = $1',
        [pid],
      );
      if (found?.state === 'idle') return pid;
      process.kill(pid, 'SIGCONT');
      return null;
    },
    { what: `the tail of ${gateway.name} to be stopped between two reads` },
  );
}
