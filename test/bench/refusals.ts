/**
 * Whether the duration of a refusal tells how long a foreign channel is: 200 refusals each for channels of 0, 20,000 and
 * 400,000 rows, interleaved, each of a subject that has asked nothing before. Prints the medians and, for each pair of
 * channels, the rank AUC: the probability that a refusal of the longer one takes longer than one of the shorter (0.5: it
 * tells nothing). Ends with 1 if a pair differs in its code, or in its medians by 0.3 ms or more with an AUC outside 0.45 to
 * 0.55. Run it on a machine that does nothing else.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { migrate } from '../../server/postgres/migrate.js';
import { ask, tokenFor } from '../support/api.js';
import { ATTACKED, percentile } from '../support/attacks.js';
import { startGatewayProcess } from '../support/process.js';
import { makeRandom } from '../support/random.js';
import { startEmbedded } from '../support/server.js';

const REFUSALS = 200;
const ROWS = [0, 20_000, 400_000];
/** Refusals before the first that counts: connections and plans are made by then. */
const WARM = 30;

/** The probability that a value of the second list is larger than one of the first. */
function auc(first: readonly number[], second: readonly number[]): number {
  const wins = first.flatMap((a) => second.map((b) => (b > a ? 1 : b === a ? 0.5 : 0)));
  return wins.reduce<number>((sum, win) => sum + win, 0) / wins.length;
}

const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-refusals-'));
const cluster = await startEmbedded({ dataDir });
const writer = new pg.Client({ connectionString: cluster.url });
await migrate(cluster.url, { with: ['executions'] });
await writer.connect();
await writer.query(`
  CREATE TABLE orders (order_id bigint NOT NULL, customer text NOT NULL);
  SELECT rowcast.attach('orders', 'order_id');
  ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
  GRANT SELECT ON orders TO authenticated;
  CREATE POLICY own ON orders FOR SELECT TO authenticated USING (customer = (SELECT rowcast.subject()))`);
for (const rows of ROWS) {
  await writer.query(`INSERT INTO orders SELECT $1, 'another' FROM generate_series(1, $1::int)`, [rows]);
}
await writer.query('VACUUM (ANALYZE)');
const gateway = await startGatewayProcess(cluster.url, ATTACKED);
try {
  const { next } = makeRandom(Number(process.env.ROWCAST_SEED ?? 1));
  const asked = ROWS.flatMap((rows) => Array.from({ length: REFUSALS }, () => ({ rows, at: next() })));
  asked.sort((a, b) => a.at - b.at);
  const warm = Array.from({ length: WARM }, (_, index) => ({ rows: ROWS[index % ROWS.length] ?? 0 }));
  const tokens = await Promise.all([...warm, ...asked].map((_, index) => tokenFor(`stranger-${index}`)));
  const took = new Map<number, number[]>(ROWS.map((rows) => [rows, []]));
  const codes = new Set<string>();
  for (const [index, { rows }] of [...warm, ...asked].entries()) {
    const began = performance.now();
    const { status, body } = await ask(gateway, `/v1/poll?channel=orders:${rows}&since=now&wait=0`, tokens[index]);
    const milliseconds = performance.now() - began;
    codes.add(`${status} ${JSON.stringify(body).replaceAll(String(rows), 'N')}`);
    if (index >= WARM) took.get(rows)?.push(milliseconds);
  }
  for (const [rows, times] of took) {
    console.log(`${String(rows).padStart(7)} rows: median ${percentile(times, 0.5).toFixed(2)} ms`);
  }
  let told = codes.size === 1 ? 0 : 1;
  console.log(`responses: ${[...codes].join(' | ')}`);
  for (const [index, shorter] of ROWS.entries()) {
    for (const longer of ROWS.slice(index + 1)) {
      const [first = [], second = []] = [took.get(shorter), took.get(longer)];
      const apart = percentile(second, 0.5) - percentile(first, 0.5);
      const rank = auc(first, second);
      const same = Math.abs(apart) < 0.3 || (rank >= 0.45 && rank <= 0.55);
      told += same ? 0 : 1;
      console.log(
        `${shorter} and ${longer} rows: ${apart.toFixed(2)} ms apart, AUC ${rank.toFixed(3)}${same ? '' : '  TOLD APART'}`,
      );
    }
  }
  process.exitCode = told === 0 ? 0 : 1;
} finally {
  await gateway.stop();
  await writer.end();
  await cluster.stop();
  await rm(dataDir, { recursive: true, force: true });
}
