import { formatPosition } from '../../client/protocol/index.js';
import { TableReader } from '../../server/postgres/table-reader.js';
import { until } from '../support/until.js';
import type { ClientHost } from './clients/host.js';
import type { Database } from './database.js';
import type { CampaignOptions } from './options.js';
import { BOARD_CHANNELS, PLAIN_CHANNELS, PRUNED_CHANNELS, REBORN_CHANNELS } from './schema.js';
import type { Watch } from './watch.js';
import type { World } from './world.js';

/** The last of the clients may wait for its longest backoff, and then read all there is; in milliseconds. */
const ARRIVE = 90_000;

export interface Arrival {
  readonly seconds: number;
  /** Clients and channels that had not arrived when the time was over. */
  readonly behind: readonly string[];
}

/** The rows of each board, as a follower has to hold them. */
async function boards(database: Database): Promise<Record<string, string>> {
  const rows = await database.query<{ channel: string; scores: string }>(
    `SELECT 'board:' || key AS channel, string_agg(writer || ':' || counter, ',' ORDER BY writer) AS scores
       FROM campaign.board GROUP BY key`,
  );
  const scores = new Map(rows.map(({ channel, scores }) => [channel, scores]));
  return Object.fromEntries(BOARD_CHANNELS.map((channel) => [channel, scores.get(channel) ?? '']));
}

/** Waits until everybody has everything. */
export async function arrive(
  { database, gateways }: World,
  host: ClientHost,
  watch: Watch,
  { log, signal }: CampaignOptions,
): Promise<Arrival> {
  const from = performance.now();
  await Promise.all(gateways.map((gateway) => gateway.ready()));
  const table = await TableReader.connect(database.url);
  const heads: Record<string, string> = {};
  for (const channel of [...PLAIN_CHANNELS, ...PRUNED_CHANNELS, ...REBORN_CHANNELS]) {
    const state = await table.open(channel);
    if (state !== null) heads[channel] = formatPosition({ epoch: state.epoch, seq: state.head });
  }
  await table.close();
  Object.assign(heads, await boards(database));
  host.finish();
  let behind: readonly string[] = [];
  const arrived = async () => {
    behind = (await host.ask(heads)).behind;
    const { channel, position } = watch;
    if (!signal.aborted && position !== heads[channel]) {
      behind = [...behind, `rowcast watch at ${position} of ${heads[channel]}`];
    }
    return behind.length === 0;
  };
  await until(arrived, { deadlineMs: ARRIVE, what: 'the clients to arrive' }).catch(() => {});
  const seconds = (performance.now() - from) / 1000;
  log(`all rows arrived ${seconds.toFixed(1)} s after the last one was written; behind: ${behind.length}`);
  return { seconds, behind };
}
