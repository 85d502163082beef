import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { jwtVerify } from 'jose';
import { killAll, type RowcastProcess, runRowcast } from '../support/process.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

let folder: string;
let env: Record<string, string>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rowcast-cli-'));
  env = { ROWCAST_DATA_DIR: join(folder, 'data'), ROWCAST_PORT: '0', ROWCAST_LOG_LEVEL: 'warn' };
});
afterAll(async () => {
  killAll();
  await rm(folder, { recursive: true });
});

async function printed(rowcast: RowcastProcess, pattern: RegExp): Promise<string> {
  const match = await until(() => pattern.exec(rowcast.output()), {
    deadlineMs: 20_000,
    what: `${pattern} in ${rowcast.output()} ${rowcast.errors()}`,
  });
  return match[1] ?? '';
}

const run = async (...args: string[]) => {
  const rowcast = runRowcast(args, env);
  return { code: await rowcast.exited, output: rowcast.output(), errors: rowcast.errors() };
};

test('up, watch, attach, channels, and a second start on the same data', async () => {
  const up = runRowcast(['up'], env);
  const url = await printed(up, /^listening on (\S+)$/m);
  const databaseUrl = await printed(up, /^database (postgres:\/\/\S+)$/m);
  env.ROWCAST_URL = url;
  const execution = await printed(up, /rowcast watch (execution:\S+)/);

  const watch = runRowcast(['watch', execution, '--since', 'start'], env);
  await printed(watch, /^(#2 {2}.*execution-started {2}execution is running)$/m);
  await printed(watch, /(task-completed {2}read the issue is completed)/);
  const json = runRowcast(['watch', 'message:lobby', '--json'], env);
  await until(() => json.errors().includes('live'), { what: 'the watcher to be live' });
  const writer = await connectWriter(databaseUrl);
  await writer.query(`SELECT rowcast.publish('message:lobby', 'greeting', '{"hello":"world"}')`);
  const event = JSON.parse(await printed(json, /^(\{.*\})$/m)) as { seq: number; row: { data: unknown } };
  expect(event).toMatchObject({
    channel: 'message:lobby',
    seq: 1,
    type: 'greeting',
    row: { data: { hello: 'world' } },
  });

  await writer.query('CREATE TABLE orders (shop int NOT NULL, item text)');
  await writer.end();
  expect(await run('attach', 'orders', '--key', 'shop', '--name', 'order')).toMatchObject({
    code: 0,
    errors: expect.not.stringContaining('skipping'),
  });
  expect((await run('attach', 'orders', '--key', 'nix')).errors).toContain('has no column nix');
  expect((await run('types')).output).toContain(
    '\n  order: {\n    readonly shop: number;\n    readonly item: string | null;\n  };\n',
  );
  expect(await run('watch', 'lobby')).toMatchObject({ code: 2, errors: expect.stringContaining('lobby') });
  expect(await run('uninstall', '--yes')).toMatchObject({ code: 1, errors: expect.stringContaining('deleting') });
  const { output } = await run('channels');
  expect(output).toMatch(/^CHANNEL +HEAD +SUBSCRIBERS$/m);
  expect(output).toMatch(/^message:lobby +1 +1$/m);

  for (const watcher of [watch, json]) {
    watcher.child.kill('SIGINT');
    expect(await watcher.exited).toBe(0);
  }
  up.child.kill('SIGINT');
  up.child.kill('SIGINT'); // as under npm, which passes on what the terminal has sent already
  expect(await up.exited).toBe(0);

  const again = runRowcast(['up'], env);
  expect(await printed(again, /^database (postgres:\/\/\S+)$/m)).toBe(databaseUrl);
  env.ROWCAST_URL = await printed(again, /^listening on (\S+)$/m);
  const resumed = runRowcast(['watch', execution, '--since', 'start'], env);
  await printed(resumed, /(execution-paused)/);
  await printed(resumed, /(execution-resumed)/);
  again.child.kill('SIGTERM');
  expect(await again.exited).toBe(0);
  resumed.child.kill('SIGINT');
  expect(await resumed.exited).toBe(0);
}, 60_000);

test('what is called wrongly says so, with its exit code', async () => {
  expect(await run('--help')).toMatchObject({ code: 0, output: expect.stringContaining('watch') });
  expect((await run('up', '--help')).output).toContain('ROWCAST_DATA_DIR');
  expect(await run('wach')).toMatchObject({ code: 2, errors: expect.stringContaining('watch') });
  expect(await run('watch')).toMatchObject({ code: 2 });
  expect(await run('watch', 'message:a', '--url', 'http://127.0.0.1:1/', '--since', 'x y')).toMatchObject({ code: 2 });
  expect(await run('watch', 'message:a', '--url', 'localhost:4400')).toMatchObject({
    code: 2,
    errors: expect.stringContaining('Must be a URL such as http://127.0.0.1:4400.'),
  });
  expect(await run('channels', '--url', 'http://127.0.0.1:1')).toMatchObject({
    code: 1,
    errors: expect.stringContaining('no gateway responds'),
  });
  const { code, errors } = await runWith({ ROWCAST_HOST: '0.0.0.0', ROWCAST_PORT: 'x', ROWCAST_HOTS: '' }, 'up');
  expect(code).toBe(2);
  expect(errors).toContain('ROWCAST_PORT');
  expect((await runWith({ ROWCAST_HOST: '0.0.0.0' }, 'up')).errors).toContain('ROWCAST_JWT_SECRET');
  expect((await runWith({ DATABASE_URL: 'postgres://nobody:secret@127.0.0.1:1/x' }, 'migrate')).errors).not.toContain(
    'secret',
  );
});

async function runWith(settings: Record<string, string>, ...args: string[]) {
  const rowcast = runRowcast(args, settings);
  return { code: await rowcast.exited, errors: rowcast.errors() };
}

test('token: one that the gateway takes, and a clear word where there is no secret', async () => {
  const secret = 'a secret of more than thirty-two characters';
  const made = runRowcast(['token', 'ann', '--role', 'service_role', '--for', '2m'], { ROWCAST_JWT_SECRET: secret });
  expect(await made.exited).toBe(0);
  const { payload } = await jwtVerify(made.output().trim(), new TextEncoder().encode(secret), {
    algorithms: ['HS256'],
  });
  expect(payload).toMatchObject({ sub: 'ann', role: 'service_role' });
  expect((payload.exp ?? 0) - (payload.iat ?? 0)).toBe(120);
  const without = runRowcast(['token', 'ann'], {});
  expect([await without.exited, without.errors()]).toEqual([2, expect.stringContaining('ROWCAST_JWT_SECRET')]);
});
