/** What happens to streams and their numbering, and to those who write. */
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../../support/until.js';
import type { World } from '../world.js';
import type { Nemesis } from './nemesis.js';

const PRUNE_EVERY = 150;
/** A writer that sits in a transaction is left alone, so the first rows may take longer. */
const PRUNES_AT_LAST = 10_000;
/** Writers write slowly at times. */
const ROWS_AT_LAST = 30_000;
const EPOCH = `SELECT epoch FROM rowcast.streams WHERE name = 'reborn'`;

/** The epoch of a stream changes; `renumber` says how. */
async function renumber(world: World, change: string, generation: 0 | 1): Promise<string> {
  const { database } = world;
  const epochOf = async () => (await database.query<{ epoch: string }>(EPOCH))[0]?.epoch;
  const before = await epochOf();
  await database.query(
    `DO $$ BEGIN
      ${change};
      INSERT INTO campaign.generations SELECT 'reborn', s.epoch, max(g.generation) + ${generation}
        FROM rowcast.streams s, campaign.generations g WHERE s.name = 'reborn' AND g.stream = 'reborn' GROUP BY s.epoch;
    END $$`,
  );
  const epoch = await epochOf();
  if (epoch === before) throw new Error(`the epoch is still ${epoch}`);
  return `epoch ${epoch}`;
}

/** The channels that have rows to take from, the longest first; at least one. */
async function channelsWithRows({ database }: World): Promise<[Long, ...Long[]]> {
  const counts = `SELECT key, count(*)::int AS rows FROM campaign.pruned GROUP BY key HAVING count(*) > 1 ORDER BY rows DESC`;
  const some = async () => {
    const [longest, ...others] = await database.query<Long>(counts);
    return longest === undefined ? null : ([longest, ...others] satisfies [Long, ...Long[]]);
  };
  return until(some, { deadlineMs: ROWS_AT_LAST, what: 'rows to take away' });
}

interface Long {
  readonly key: string;
  readonly rows: number;
}

export const numberingNemeses: readonly Nemesis[] = [
  {
    name: 'prune',
    about: 'rowcast.prune, again and again, while clients read from the start',
    breaks: ['database'],
    lasts: [2_000, 6_000],
    async strike({ world, random, holdMs }) {
      const end = performance.now() + holdMs;
      const [longest] = await channelsWithRows(world);
      const keep = random.int(1, longest.rows - 1);
      let pruned = 0;
      do {
        const [batch] = await world.database.query<{ rows: string }>(
          'SELECT rowcast.prune($1, keep_rows => $2, batch => $3) AS rows',
          ['pruned', keep, random.int(10, 500)],
        );
        pruned += Number(batch?.rows);
        await delay(PRUNE_EVERY);
      } while (performance.now() < end + (pruned === 0 ? PRUNES_AT_LAST : 0));
      if (pruned === 0) throw new Error(`nothing was pruned, with ${keep} rows to keep`);
      return `${pruned} rows gone, ${keep} kept`;
    },
  },
  {
    name: 'delete',
    about: 'plain DELETE of the older half of a channel',
    breaks: ['database'],
    lasts: [0, 0],
    async strike({ world, random }) {
      const { key } = random.pick(await channelsWithRows(world));
      const gone = await world.database.query(
        `DELETE FROM campaign.pruned WHERE key = $1 AND seq <=
          (SELECT percentile_disc(0.5) WITHIN GROUP (ORDER BY seq) FROM campaign.pruned WHERE key = $1) RETURNING seq`,
        [key],
      );
      if (gone.length === 0) throw new Error('nothing was deleted');
      return `${gone.length} rows gone`;
    },
  },
  {
    name: 'truncate',
    about: 'TRUNCATE of a stream: its readers get a reset, and the numbers begin at 1',
    breaks: ['database'],
    lasts: [0, 0],
    strike: ({ world }) => renumber(world, 'TRUNCATE campaign.reborn', 1),
  },
  {
    name: 'new-epoch',
    about: 'rowcast.new_epoch, as after a restored backup: the rows stay, their readers get a reset',
    breaks: ['database'],
    lasts: [0, 0],
    strike: ({ world }) => renumber(world, `PERFORM rowcast.new_epoch('reborn')`, 0),
  },
  {
    name: 'long-transactions',
    about: 'two transactions stay open while others begin later and commit earlier',
    breaks: ['held'],
    lasts: [500, 8_000],
    async strike({ world, random, holdMs }) {
      const later = random.int(0, holdMs / 2);
      await Promise.all([
        world.team.hold(holdMs, 0),
        delay(later).then(() => world.team.hold((holdMs - later) / 2, 1)),
      ]);
      return '';
    },
  },
  {
    name: 'deadlocks',
    about: 'pairs of writers that wait for each other; PostgreSQL ends one of each, which tries again',
    breaks: ['locked'],
    lasts: [500, 3_000],
    async strike({ world, holdMs }) {
      const end = performance.now() + holdMs;
      const before = world.team.retries;
      do await world.team.deadlock();
      while (performance.now() < end);
      const retries = world.team.retries - before;
      if (retries === 0) throw new Error('no writer had to try again');
      return `${retries} retries`;
    },
  },
];
