/**
 * What a healthy tenant feels beside each attack at its full allowed rate, against the promised values. All on this machine:
 * the attackers, the gateway and PostgreSQL share its processors. ROWCAST_ATTACK_SECONDS for each, 5 by default; an argument selects
 * attacks by a part of their names.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { migrate } from '../../server/postgres/migrate.js';
import { ATTACKS, makeWorld, percentile, phase } from '../support/attacks.js';
import { startEmbedded } from '../support/server.js';

const MILLISECONDS = 1_000 * Number(process.env.ROWCAST_ATTACK_SECONDS ?? 5);
/** The promises, in milliseconds and MB. */
const MOST = { event: 100, status: 250, subscribe: 500, memory: 512 };

const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-attacks-'));
const cluster = await startEmbedded({ dataDir });
const writer = new pg.Client({ connectionString: cluster.url });
await migrate(cluster.url, { with: ['executions'] });
await writer.connect();
const world = await makeWorld(cluster.url, writer);
try {
  await phase(world, 1_000, null);
  console.log(
    'p99 in ms, MB      event  status  subscribe  memory  refused  processors of the gateway and of the attacker',
  );
  let broken = 0;
  for (const attack of [null, ...ATTACKS.filter((name) => name.includes(process.argv[2] ?? ''))]) {
    await phase(world, 1_000, null); // what the attack before has left behind
    const felt = await phase(world, MILLISECONDS, attack);
    const figures = [
      percentile(felt.event, 0.99),
      percentile(felt.status, 0.99),
      percentile(felt.subscribe, 0.99),
      felt.memory / 1024 ** 2,
    ];
    const within =
      figures.every((figure, index) => figure < (Object.values(MOST)[index] ?? 0)) && felt.refused.length === 0;
    broken += within ? 0 : 1;
    console.log(
      `${within ? 'ok  ' : 'MORE'} ${figures.map((figure) => figure.toFixed(0).padStart(7)).join(' ')}  ${felt.refused.length}  ${felt.processors.map((used) => used.toFixed(2)).join(' ')}  ${attack ?? 'undisturbed'}`,
    );
  }
  console.log(`promised: ${JSON.stringify(MOST)}; ${broken} of the phases had more`);
} finally {
  await world.gateway.stop();
  await writer.end();
  await cluster.stop();
  await rm(dataDir, { recursive: true, force: true });
}
