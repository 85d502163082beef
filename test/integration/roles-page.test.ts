import { readFileSync } from 'node:fs';
import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import { migrate } from '../../server/postgres/migrate.js';
import { testClient } from '../support/client.js';
import { complaints, findingsAt, foundBy } from '../support/doctor.js';
import { follow } from '../support/follow.js';
import { startTestGateway } from '../support/gateway.js';
import { startEmbedded } from '../support/server.js';
import { connectWriter } from '../support/writer.js';

const PAGE = readFileSync(join(import.meta.dirname, '../../docs/operations/roles.md'), 'utf8');

/** On a server of its own: its roles belong to the whole cluster. */
test('docs/operations/roles.md does what it says, with an administrator that is no superuser', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'rowcast-roles-'));
  await chmod(folder, 0o755);
  const server = await startEmbedded({ dataDir: join(folder, 'data'), settings: { fsync: 'off' } });
  const as = (role: string) => Object.assign(new URL('/app', server.url), { username: role }).href;
  const superuser = await connectWriter(server.url);
  await superuser.query('CREATE ROLE administrator LOGIN CREATEROLE');
  await superuser.query('CREATE DATABASE app OWNER administrator');
  await superuser.end();
  const blocks = [...PAGE.matchAll(/```sql\n-- As (?:the )?(\w+).*\n([\s\S]*?)```/g)];
  expect(blocks).toHaveLength(PAGE.split('```sql').length - 1);
  for (const [index, [, role = '', sql = '']] of blocks.entries()) {
    const client = await connectWriter(as(role));
    await client.query(sql);
    await client.end();
    if (index === 0)
      expect(await migrate(as('migrator'), { with: ['executions'] })).toContain('executions/02-access.sql');
  }
  const findings = await findingsAt(as('gateway'));
  expect(complaints(findings)).toEqual([]);
  expect(foundBy(findings, 'access')).toContain(
    'orders can be read by services, and by users according to the policies of public.orders',
  );
  expect(await migrate(as('gateway'))).toEqual([]);
  const gateway = await startTestGateway(as('gateway'), { ROWCAST_PRUNE_INTERVAL: '50' });
  const client = testClient({ url: gateway.url });
  await follow(client, 'orders:7').count(1);
  await follow(client, 'execution:00000000-0000-4000-8000-00000000000e').count(2);
  await follow(client, 'message:lobby').count(2);
  client.close();
  await gateway.stop();
  await server.stop();
  await rm(folder, { recursive: true });
}, 60_000);
