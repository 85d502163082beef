import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import { WebSocket } from 'ws';
import { migrate } from '../server/postgres/migrate.js';
import { makeWorld, type AttackName } from './support/attacks.js';
import { program } from './support/programs.js';
import { startEmbedded } from './support/server.js';
const dataDir = await mkdtemp(join(tmpdir(), 'rowcast-attacks-'));
const cluster = await startEmbedded({ dataDir });
const writer = new pg.Client({ connectionString: cluster.url });
await migrate(cluster.url, { with: ['executions'] });
await writer.connect();
const world = await makeWorld(cluster.url, writer);
const attack = process.argv[2] as AttackName;
const channel = `execution:${world.target.execution}`;
const one = () => new Promise<number[]>((resolve) => {
  const t0 = performance.now(); const at: number[] = [];
  const socket = new WebSocket(`${world.gateway.url.replace('http', 'ws')}/v1/ws`);
  const say = (c: object) => socket.send(JSON.stringify(c));
  socket.on('open', () => { at.push(performance.now() - t0); say({ type: 'connect', id: 1, protocol: 1, token: world.target.tokens.bo }); });
  socket.on('message', (data) => { const f = JSON.parse(String(data)); if (f.type === 'connected') { at.push(performance.now() - t0); say({ type: 'subscribe', id: 2, channel, since: 'now' }); } if (f.type === 'subscribed') { at.push(performance.now() - t0); socket.terminate(); resolve(at); } if (f.type === 'error') { console.log(f); resolve(at); } });
  socket.on('error', (e) => { console.log(String(e)); resolve(at); });
});
const attacker = spawn(process.execPath, [program('test/support/attacker.ts'), attack, JSON.stringify(world.target)], { stdio: ['ignore', 'pipe', 'inherit'] });
await once(attacker.stdout, 'data');
const end = Date.now() + 5000;
while (Date.now() < end) {
  const at = await one();
  const { rows } = await writer.query(`SELECT application_name a, state s, wait_event w, left(query, 60) q, count(*)::int n FROM pg_stat_activity WHERE application_name LIKE 'rowcast%' AND state <> 'idle' GROUP BY 1,2,3,4`);
  console.log(at.map((x) => Math.round(x)).join(' '), rows.map((r) => `${r.a}/${r.w}/${r.n}`).join(' '));
  await delay(100);
}
attacker.kill('SIGKILL');
await world.gateway.stop(); await writer.end(); await cluster.stop(); await rm(dataDir, { recursive: true, force: true });
