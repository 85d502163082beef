import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import type { FaultKind, Verdict } from '../../server/verify/verdict.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { startTestGateway } from '../support/gateway.js';
import { killAll, runRowcast } from '../support/process.js';
import { until } from '../support/until.js';
import { connectWriter } from '../support/writer.js';

const CHANNEL = 'message:verified';

let folder: string;
let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'rowcast-verify-'));
  database = await createDatabase();
  gateway = await startTestGateway(database.url);
  writer = await connectWriter(database.url);
});
afterAll(async () => {
  killAll();
  await writer.end();
  await gateway.stop();
  await database.drop();
  await rm(folder, { recursive: true });
});

async function publish(count: number): Promise<void> {
  await writer.query(
    `SELECT rowcast.publish($1, 'step', jsonb_build_object('n', n, 'text', 'Grüße 😀', 'at', now(), 'ratio', n / 7.0))
       FROM generate_series(1, $2::int) n`,
    [CHANNEL, count],
  );
}

async function verify(...args: string[]) {
  const rowcast = runRowcast(['verify', ...args], { DATABASE_URL: database.url });
  return { code: await rowcast.exited, output: rowcast.output(), errors: rowcast.errors() };
}

/** The kinds of fault that `verify` finds in each of these histories, of one client each. */
async function faultsIn(histories: Record<string, readonly string[]>, ...args: string[]) {
  const path = join(folder, 'tampered.jsonl');
  const lines = Object.entries(histories).flatMap(([client, lines]) =>
    lines.map((line) => JSON.stringify({ ...(JSON.parse(line) as object), client })),
  );
  await writeFile(path, `${lines.join('\n')}\n`);
  const { code, output } = await verify(path, '--json', ...args);
  const { readers, clean } = JSON.parse(output) as Verdict;
  expect({ code, clean }).toEqual({ code: 1, clean: false });
  const found: Record<string, FaultKind[]> = {};
  for (const { client, faults } of readers) {
    found[client] = [...(found[client] ?? []), ...faults.map(({ kind }) => kind)];
  }
  return found;
}

test('what `watch --record` wrote is clean, and `verify` finds what is changed in it', async () => {
  await publish(30);
  const path = join(folder, 'watch.jsonl');
  const watch = runRowcast(['watch', CHANNEL, '--since', 'start', '--record', path], { ROWCAST_URL: gateway.url });
  await until(() => watch.errors().includes('live'), { deadlineMs: 20_000, what: 'the watcher to be live' });
  await publish(30);
  await until(() => watch.output().includes('#60 '), { deadlineMs: 20_000, what: 'the last event' });
  watch.child.kill('SIGINT');
  expect(await watch.exited).toBe(0);

  const clean = await verify(path, '--complete');
  expect(clean).toMatchObject({ code: 0, errors: '' });
  expect(clean.output).toMatch(/^CLIENT +CHANNEL +EVENTS +RESETS +GAPS/m);
  expect(clean.output).toMatch(/^watch-\w+ +message:verified +60 +0 +0 +0 +0 +0 +0 +0 +0 +\d+$/m);
  expect(clean.output).toMatch(/^clean/m);
  const again = runRowcast(['watch', CHANNEL, '--record', path], { ROWCAST_URL: gateway.url });
  expect(await again.exited).toBe(1); // a history is not overwritten

  const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
  expect(lines.map((line) => (JSON.parse(line) as { type: string }).type)).toEqual([
    'begin',
    'subscribed',
    ...Array.from({ length: 60 }, () => 'event'),
    'end',
  ]);
  const [fourth = '', fifth = ''] = lines.slice(5, 7);
  const end = lines.at(-1) ?? '';
  const histories = {
    untouched: lines,
    dropped: lines.toSpliced(5, 1),
    repeated: lines.toSpliced(5, 0, fourth),
    swapped: lines.toSpliced(5, 2, fifth, fourth),
    changed: lines.with(5, fourth.replace('Grüße', 'Gruesse')),
    digested: lines.with(5, fourth.replace(/"row":.*/, '"digest":"0123456789abcdef"}')),
    numbered: lines.with(5, fourth.replace(/,"row":.*/, '}')),
    strayed: lines.toSpliced(5, 0, fourth.replace(CHANNEL, 'message:other')),
    cut: lines.slice(0, -11),
    mended: [...lines.slice(0, -11), end],
  };
  const expected = {
    untouched: [],
    dropped: ['gaps'],
    repeated: ['duplicates'],
    swapped: ['reorders'],
    changed: ['altered'],
    digested: ['altered'],
    numbered: [],
    strayed: ['foreign'],
    cut: [], // without an end it claims nothing
    mended: ['missing'],
  };
  expect(await faultsIn(histories)).toEqual(expected);
  expect(await faultsIn(histories, '--complete')).toEqual({ ...expected, cut: ['missing'] });

  await writer.query("DELETE FROM rowcast.messages WHERE key = 'verified' AND seq <= 20");
  const pruned = JSON.parse((await verify(path, '--json', '--complete')).output) as Verdict;
  expect(pruned).toMatchObject({ clean: true, total: { events: 60, gone: 20 } });
}, 60_000);

test('a file that is not a history is refused, with the line', async () => {
  const path = join(folder, 'bad.jsonl');
  const begin = JSON.stringify({ at: 1, client: 'c', type: 'begin', channel: CHANNEL, since: 'start' });
  const refused = async (line: string) => {
    await writeFile(path, `${begin}\n${line}\n${begin}\n`);
    const { code, errors } = await verify(path);
    expect(code).toBe(2);
    return errors;
  };
  expect(await refused('{"at":2')).toContain('line 2: is not JSON');
  expect(await refused(begin.replace('start', 'then'))).toContain('line 2: since: is not start');
  expect(await verify(join(folder, 'nowhere.jsonl'))).toMatchObject({ code: 2 });
  await writeFile(path, `${begin}\n{"at":2,"client":"c","ty`); // its client was killed
  expect(await verify(path)).toMatchObject({ code: 0, errors: expect.stringContaining('the last line is incomplete') });

  const other = join(folder, 'other.jsonl');
  await writeFile(other, `${begin.replace('"c"', '"d"')}\n{"at":2}\n`);
  expect(await verify(path, other)).toMatchObject({ code: 2, errors: expect.stringContaining('other.jsonl, line 2') });
}, 60_000);
