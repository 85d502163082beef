import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { WebSocketServer } from 'ws';

/**
 * What a page that uses no option loads, in bytes. It was 12 KB before several subscriptions could share a channel, which
 * brought the shared channel into the core, before the connection could be watched, and before a stream could be stalled.
 */
const BUDGET = 14 * 1024;

let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'rowcast-bundle-'));
  execFileSync(process.execPath, ['bundle.mjs', folder]);
});

afterAll(() => rmSync(folder, { recursive: true }));

const read = (file: string) => readFileSync(join(folder, file), 'utf8');

/** A file of the bundle and all that is loaded with it. */
function loadedWith(file: string, files = new Set<string>()): Set<string> {
  if (files.has(file)) return files;
  files.add(file);
  for (const [, name = ''] of read(file).matchAll(/\bfrom"\.\/([^"]+)"/g)) loadedWith(name, files);
  return files;
}

/** The modules in a file of the bundle. One that only hands on others has none, and no map. */
const sources = (file: string) =>
  existsSync(join(folder, `${file}.map`))
    ? (JSON.parse(read(`${file}.map`)) as { sources: string[] }).sources.join()
    : '';

test('the core client, its dependency included, has at most 14 KB gzipped', () => {
  const core = [...loadedWith('rowcast.js')];
  const bytes = core.map((file) => gzipSync(read(file), { level: 9 }).length).reduce((sum, size) => sum + size);
  console.log(`the core client: ${bytes} bytes gzipped, in ${core.length} files`);
  const inside = core.map(sources).join();
  for (const part of ['client/session/session.ts', 'client/transport/poll.ts', 'reconnecting-websocket']) {
    expect(inside).toContain(part);
  }
  // Texts for people, and what only some pages ask for.
  for (const part of ['protocol/errors.ts', 'polling/service.ts', 'tabs/share.ts']) expect(inside).not.toContain(part);
  expect(bytes).toBeLessThanOrEqual(BUDGET);
});

test.each(['polling/service.ts', 'tabs/share.ts'])('%s is loaded by those who ask for it', (part) => {
  const late = readdirSync(folder).filter((file) => file.endsWith('.js') && !loadedWith('rowcast.js').has(file));
  expect(late.filter((file) => sources(file).includes(part))).toHaveLength(1);
});

test('progress.js, beside it, has the progress of executions and none of the client', () => {
  expect(read('progress.js')).toMatch(/export\{.*\badvance\b/s);
  expect([...loadedWith('progress.js')].map(sources).join()).not.toContain('client/session');
});

/** What the stores and the hooks add to the client and the progress, in bytes. */
const STORES = 8 * 1024;

test('store and react add at most 8 KB gzipped to the client', () => {
  const printed = execFileSync(process.execPath, ['test/support/store-size.mjs', folder], { encoding: 'utf8' });
  console.log(`the client and what the stores and hooks add: ${printed}`);
  const { added, late } = JSON.parse(printed) as { added: number; late: number };
  expect(added).toBeGreaterThan(5_000);
  expect(added).toBeLessThanOrEqual(STORES);
  // The list of a venture, whole logs and replay are loaded by those who ask for them.
  expect(late).toBeGreaterThan(1_000);
});

test('store.js of the bundle has the stores, without the lists, logs and replay that are loaded when they are used', () => {
  const inside = [...loadedWith('store.js')].map(sources).join();
  expect(inside).toContain('client/store/following.ts');
  for (const part of ['store/log.ts', 'store/replay.ts', 'store/executions.ts', 'client/react']) {
    expect(inside).not.toContain(part);
  }
});

/** A page's client over the bundle: it prints the first event that a gateway sends over a WebSocket. */
const PAGE = `
  import { WebSocket } from 'ws';
  import { createClient } from 'BUNDLE';
  const client = createClient({ url: process.argv[1], WebSocket, transports: ['websocket'] });
  client.subscribe('a:1', { since: 'start', onEvent: ({ row }) => { console.log(row.text); client.close(); } });
`;

test('the bundle reads over a WebSocket', async () => {
  const gateway = new WebSocketServer({ port: 0 });
  gateway.on('connection', (socket) => {
    const send = (frame: object) => socket.send(JSON.stringify(frame));
    socket.on('message', (data) => {
      const { type, id } = JSON.parse(String(data)) as { type: string; id: number };
      if (type === 'connect') send({ type: 'connected', id, session: 's', heartbeat: 25_000, limits: {} });
      if (type !== 'subscribe') return;
      send({ type: 'subscribed', id, channel: 'a:1', epoch: 'e', head: 1, floor: 1 });
      send({ type: 'events', channel: 'a:1', from: 1, events: [{ text: 'it came' }] });
    });
  });
  const { port } = gateway.address() as { port: number };
  const script = PAGE.replace('BUNDLE', join(folder, 'rowcast.js'));
  const page = spawn(process.execPath, ['--input-type=module', '-e', script, `http://127.0.0.1:${port}`], {
    timeout: 15_000,
  });
  let printed = '';
  page.stdout.on('data', (data) => {
    printed += String(data);
  });
  page.stderr.on('data', (data) => {
    printed += String(data);
  });
  await new Promise((resolve) => page.once('close', resolve));
  await new Promise((resolve) => gateway.close(resolve));
  expect(printed).toBe('it came\n');
});
