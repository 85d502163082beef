/** What makes one table unreadable for the gateways, while its writers go on. */
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../../support/until.js';
import type { Gateway } from '../gateway.js';
import type { StreamName } from '../schema.js';
import type { Nemesis } from './nemesis.js';

const STREAMS: readonly StreamName[] = ['plain', 'pruned', 'reborn'];

/** A gateway reads its catalog anew after ten seconds at the latest, and tries again after fifteen; in milliseconds. */
const NOTICED = 20_000;
const MENDED = 30_000;

interface Way {
  readonly name: string;
  readonly breaks: (table: string) => string;
  readonly heals: (table: string) => string;
}

const WAYS: readonly Way[] = [
  {
    name: 'its right is taken back',
    breaks: (table) => `REVOKE SELECT ON ${table} FROM rowcast_gateway`,
    heals: (table) => `GRANT SELECT ON ${table} TO rowcast_gateway`,
  },
  {
    name: 'the right to its columns is taken back',
    breaks: (table) =>
      `REVOKE SELECT ON ${table} FROM rowcast_gateway; GRANT SELECT (key, seq, tx) ON ${table} TO rowcast_gateway`,
    heals: (table) => `GRANT SELECT ON ${table} TO rowcast_gateway`,
  },
];

async function troubled(gateway: Gateway): Promise<readonly string[]> {
  const response = await fetch(`${gateway.url}/readyz`, { signal: AbortSignal.timeout(1_000) });
  const { streams } = (await response.json()) as { streams: Record<string, object> };
  return Object.keys(streams);
}

export const streamNemeses: readonly Nemesis[] = [
  {
    name: 'stream-unreadable',
    about: 'one table cannot be read: its stream waits, the others go on, and it is complete when it is mended',
    breaks: ['database', 'gateways'],
    lasts: [1_000, 6_000],
    weight: 2,
    async strike({ world, random, holdMs }) {
      const { database, gateways } = world;
      const stream = random.pick(STREAMS);
      const way = random.pick(WAYS);
      const table = `campaign.${stream}`;
      const all = async (wanted: (streams: readonly string[]) => boolean) =>
        (await Promise.all(gateways.map((gateway) => troubled(gateway).catch(() => null)))).every(
          (streams) => streams !== null && wanted(streams),
        );
      await database.query(way.breaks(table));
      try {
        const noticed = () => all((streams) => streams.includes(stream));
        await until(noticed, { deadlineMs: NOTICED, what: `all gateways to say that ${stream} cannot be read` });
        for (const gateway of gateways) {
          if (!(await gateway.isReady())) throw new Error(`${gateway.name} is not ready because of ${stream}`);
        }
        await delay(holdMs);
      } finally {
        await database.query(way.heals(table));
      }
      await until(() => all((streams) => streams.length === 0), {
        deadlineMs: MENDED,
        what: `${stream} to be read again`,
      });
      return `${stream}: ${way.name}`;
    },
  },
];
