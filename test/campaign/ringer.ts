import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../support/until.js';
import type { Gateway } from './gateway.js';
import type { World } from './world.js';

/** Between two rows, in milliseconds: often enough that a gateway which hears them stays awake. */
const STIR = 4;
/** For the next in the queue to take the gate, in milliseconds: too soon, and it would be the one that is ended. */
const TURN = 100;
const TAKES_AT_MOST = 20_000;

const HOLDER = `SELECT a.pid, a.usename AS "user" FROM pg_locks l JOIN pg_stat_activity a USING (pid)
  WHERE l.locktype = 'advisory' AND l.classid = 1919907683 AND l.objid = 1 AND l.granted AND l.mode = 'ExclusiveLock'`;

/** Who holds the gate, if anybody does. */
export async function holder(world: World): Promise<{ pid: number; user: string } | undefined> {
  return (await world.database.query<{ pid: number; user: string }>(HOLDER))[0];
}

/**
 * Writes row after row until the gateway holds the gate, takes it from any other that does, and then does `work`. The
 * rows flow on until `work` has ended, or has called `still`.
 */
export async function whileRinger<T>(
  world: World,
  gateway: Gateway,
  work: (still: () => Promise<void>) => Promise<T>,
): Promise<T> {
  let stirring = true;
  const stirred = (async () => {
    while (stirring) {
      await world.team.stir();
      await delay(STIR);
    }
  })();
  const still = () => {
    stirring = false;
    return stirred;
  };
  try {
    const holds = async () => {
      const found = await holder(world);
      if (found === undefined || found.user === gateway.user) return found;
      await world.database.query('SELECT pg_terminate_backend($1)', [found.pid]);
      await delay(TURN);
      return undefined;
    };
    await until(holds, { deadlineMs: TAKES_AT_MOST, what: `${gateway.name} to hold the gate` });
    return await work(still);
  } finally {
    await still();
  }
}
