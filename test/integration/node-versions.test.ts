import { chmod, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from '@jest/globals';
import { runningUrl } from '../../server/postgres/embedded.js';
import { skips } from '../support/installed.mjs';
import { packagedNodes } from '../support/node-packages.mjs';
import { killAll, listening, runProgram } from '../support/process.js';
import { program } from '../support/programs.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

afterAll(killAll);

for (const { version, program: node } of packagedNodes()) {
  const what = `Node.js ${version}: up with the embedded database, a client, an INSERT that arrives, and a stop`;
  const run = skips(what, node === null ? 'not installed (npm run pretest)' : null) ? test.skip : test;
  run(what, async () => {
    const rowcast = (...args: string[]) => {
      const env = { ROWCAST_DATA_DIR: dataDir, ROWCAST_PORT: '0', ROWCAST_LOG_LEVEL: 'warn' };
      return runProgram(node ?? '', [program('server/main.ts'), ...args], env);
    };
    const folder = await mkdtemp(join(tmpdir(), 'rowcast-node-'));
    await chmod(folder, 0o755); // root makes it, and another user runs the server
    const dataDir = join(folder, 'data');
    const gateway = await listening(rowcast('up'));
    const client = rowcast('watch', 'message:node', '--json', '--url', gateway.url);
    await until(() => client.errors().includes('live at'), { what: 'the client to be subscribed' });
    const writer = await connectWriter((await runningUrl(dataDir)) ?? '');
    await writer.query(
      `INSERT INTO rowcast.messages (key, event_type, data) VALUES ('node', 'greeting', '"${version}"')`,
    );
    await writer.end();
    await until(() => client.output().endsWith('\n'), { what: 'the event to arrive' });
    expect(JSON.parse(client.output())).toMatchObject({ seq: 1, type: 'greeting', row: { data: version } });
    await gateway.stop();
    expect(await runningUrl(dataDir)).toBeNull();
    // Nothing that this version warns about, such as what will be removed from Node.js.
    expect(gateway.errors()).toBe('');
    client.child.kill('SIGTERM');
    expect(await client.exited).toBe(0);
    await rm(folder, { recursive: true });
  });
}
