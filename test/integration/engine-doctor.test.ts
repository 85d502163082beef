import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { examine } from '../../server/doctor/examine.js';
import { engineCheck } from '../../server/engine/doctor.js';
import { claimed, type EngineDatabase, engineDatabase, started } from '../support/engine.js';

let database: EngineDatabase;
beforeAll(async () => {
  database = await engineDatabase();
});
afterAll(async () => {
  await database.drop();
});

async function found(): Promise<string[]> {
  const { url: databaseUrl } = database;
  const circumstances = { databaseUrl, gatewayConnections: 17, longTransaction: 300, now: Date.now };
  const findings = await examine(circumstances, [engineCheck]);
  return findings
    .filter(({ name }) => name === 'engine')
    .map(({ verdict, found }) => `${verdict}: ${found.replace(/\d\d s/, '… s')}`);
}

test('the doctor names tasks that no worker takes, and leases that nothing ends', async () => {
  const { client, venture } = database;
  expect(await found()).toEqual(['ok: open executions: 0, running tasks: 0, live workers: 0']);
  await started(client, venture, [
    { name: 'x', agent_type: 'lonely' },
    { name: 'y', agent_type: 'taken' },
  ]);
  await claimed(client, 'taken');
  await client.query(`UPDATE agent_tasks SET run_at = now() - interval '90 seconds' WHERE status = 'ready'`);
  await client.query(`UPDATE agent_tasks SET lease_until = now() - interval '90 seconds' WHERE status = 'running'`);
  expect(await found()).toEqual([
    'fault: 1 leases are over, and nothing has ended them',
    'warning: a task for lonely has been ready for … s, and no worker for it is alive',
  ]);
});
