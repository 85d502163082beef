import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { expect, test } from '@jest/globals';

const ROOT = join(import.meta.dirname, '..');
const MAX_LINES = 350;

interface Module {
  readonly path: string;
  readonly lines: number;
  /** Paths of modules of this repository; types included. */
  readonly local: readonly string[];
  /** Names of packages and of Node's own modules. */
  readonly packages: readonly string[];
}

const STATIC = /^\s*(?:import|export)\b(?:[^'";]*?\bfrom)?\s*['"]([^'"]+)['"]/gm;
const DYNAMIC = /\bimport\(\s*['"]([^'"]+)['"]\s*\)/g;

function readModule(path: string): Module {
  const source = readFileSync(join(ROOT, path), 'utf8');
  const code = source.replace(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '');
  const named = [...code.matchAll(STATIC), ...code.matchAll(DYNAMIC)].map(([, name = '']) => name);
  return {
    path,
    lines: source.split('\n').length - 1,
    local: named.filter((name) => name.startsWith('.') && !name.endsWith('.css')).map((name) => resolve(path, name)),
    packages: named.filter((name) => !name.startsWith('.')),
  };
}

function resolve(from: string, name: string): string {
  const path = posix.join(dirname(from), name).replace(/\.js$/, '.ts');
  return existsSync(join(ROOT, path)) ? path : `${path}x`;
}

const modules = ['client', 'server'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name) && !name.startsWith('dist/'))
    .map((name) => readModule(posix.join(folder, name.replaceAll('\\', '/')))),
);
const known = new Set(modules.map(({ path }) => path));

/** Every import that breaks a rule, as `importer -> imported`. */
function breaches(
  applies: (path: string) => boolean,
  allowed: (imported: string, importer: string) => boolean,
): string[] {
  return modules
    .filter(({ path }) => applies(path))
    .flatMap(({ path, local, packages }) =>
      [...local, ...packages].filter((name) => !allowed(name, path)).map((name) => `${path} -> ${name}`),
    );
}

const isLocal = (name: string) => known.has(name);
const under = (folder: string) => (path: string) => path.startsWith(`${folder}/`);

/** What `rowcast` hands on of the client's package, and from where. */
const HANDED_ON = new Map([
  ['server/client.ts', '@rowcast/client'],
  ['server/progress.ts', '@rowcast/client/progress'],
  ['server/protocol.ts', '@rowcast/client/protocol'],
  ['server/store.ts', '@rowcast/client/store'],
  ['server/store-zustand.ts', '@rowcast/client/store/zustand'],
  ['server/follow.ts', '@rowcast/client/follow'],
  ['server/react.ts', '@rowcast/client/react'],
  ['server/react-rows.ts', '@rowcast/client/react/rows'],
  ['server/react-ui.ts', '@rowcast/client/react/ui'],
]);

/** The floors of each package, the lowest first, as the folders and files on them. A module may import from its own floor and from those below. */
const FLOORS: Readonly<Record<string, readonly (readonly string[])[]>> = {
  client: [
    ['client/protocol', 'client/progress'],
    ['client/ground'],
    ['client/transport'],
    ['client/session'],
    ['client/subscription'],
    ['client/polling', 'client/tabs', 'client/client.ts'],
    ['client/store'],
    ['client/follow'],
    ['client/react'],
    ['client/dashboard'],
    ['client/index.ts', 'client/node.ts'],
  ],
  server: [
    ['server/ground', 'server/network', 'server/settings'],
    ['server/ports'],
    ['server/limits', 'server/access', 'server/doorbell', 'server/hub', 'server/connection', 'server/verify'],
    ['server/auth', 'server/postgres', 'server/transport', 'server/http', 'server/doctor'],
    ['server/executions', 'server/durable-streams'],
    ['server/engine'],
    ['server/extensions.ts', 'server/sources.ts', 'server/doors.ts', 'server/gateway.ts'],
    ['server/cli', 'server/workers'],
    [...['server/index.ts', 'server/main.ts'], ...HANDED_ON.keys()],
  ],
};

const PARTS = ['server/limits', 'server/access', 'server/doorbell', 'server/hub', 'server/connection'];

/** Applications that live in the process of the gateway. */
const EXTENSIONS = ['server/executions', 'server/durable-streams', 'server/engine'];

/** The extension that one builds on, as its SQL set requires that of the other. */
const BUILDS_ON: Readonly<Record<string, string>> = { 'server/engine': 'server/executions' };

const isIn = (places: readonly string[]) => (path: string) =>
  places.some((place) => path === place || path.startsWith(`${place}/`));

function floorOf(path: string): number {
  return Object.values(FLOORS)
    .map((floors) => floors.findIndex((places) => isIn(places)(path)))
    .reduce((floor, found) => Math.max(floor, found), -1);
}

const isPart = isIn(PARTS);

test('the imports were found: every module of the house, and every import leads to one or to a package', () => {
  expect(modules.length).toBeGreaterThan(30);
  expect(modules.flatMap(({ local }) => local).length).toBeGreaterThan(100);
  expect(
    modules.flatMap(({ path, local }) => local.filter((name) => !known.has(name)).map((name) => `${path} -> ${name}`)),
  ).toEqual([]);
  expect(modules.find(({ path }) => path === 'client/index.ts')?.local).toContain('client/client.ts'); // export … from
  expect(modules.find(({ path }) => path === 'client/session/session.ts')?.local).toContain('client/protocol/index.ts'); // many lines
  expect(modules.find(({ path }) => path === 'client/transport/websocket.ts')?.packages).toContain(
    'reconnecting-websocket',
  );
});

test.each(['client/protocol', 'client/progress'])('%s imports nothing but itself', (folder) => {
  expect(breaches(under(folder), under(folder))).toEqual([]);
});

test('the client runs in a browser: no module of Node, nothing of the server, no package but its socket, a parser and what the application has', () => {
  const browser = (path: string) => under('client')(path) && path !== 'client/node.ts';
  const allowed = (name: string, importer: string) =>
    (isLocal(name) && under('client')(name) && name !== 'client/node.ts') ||
    (name === 'reconnecting-websocket' && importer === 'client/transport/websocket.ts') ||
    (name === 'lossless-json' && importer === 'client/ground/lossless.ts') ||
    (name === 'react' && isIn(['client/react', 'client/dashboard'])(importer)) ||
    (name === 'react-dom/client' && under('client/dashboard')(importer)) ||
    (name === 'zustand/vanilla' && under('client/store/zustand')(importer));
  expect(breaches(browser, allowed)).toEqual([]);
  expect(
    breaches(
      (path) => path === 'client/node.ts',
      (name) => under('client')(name) || ['ws', 'node:module'].includes(name),
    ),
  ).toEqual([]);
});

test('the server imports the client as a package: the protocol and the progress; its command line is a client too', () => {
  const allowed = (name: string, importer: string) =>
    (!name.startsWith('client/') && !name.startsWith('@rowcast/')) ||
    ['@rowcast/client/protocol', '@rowcast/client/progress'].includes(name) ||
    (name === '@rowcast/client' && under('server/cli')(importer)) ||
    name === HANDED_ON.get(importer);
  expect(breaches(under('server'), allowed)).toEqual([]);
});

test('the parts do no I/O: no package but those that do none either, no module of Node, and no edge', () => {
  expect(modules.filter(({ path }) => isPart(path)).length).toBeGreaterThan(10);
  const allowed = (name: string) =>
    isLocal(name)
      ? floorOf(name) <= floorOf('server/hub/hub.ts')
      : ['@rowcast/client/protocol', 'zod', 'lru-cache'].includes(name);
  expect(breaches(isPart, allowed)).toEqual([]);
});

test('an edge does one kind of I/O: at most one package for it in a file, and no other edge folder', () => {
  const IO = ['pg', 'pg-listen', 'ws', 'express', 'jose', 'commander', 'reconnecting-websocket', 'nats'];
  const crowded = modules
    .map(({ path, packages }) => ({ path, io: [...new Set(packages.filter((name) => IO.includes(name)))] }))
    .filter(({ io }) => io.length > 1);
  expect(crowded).toEqual([]);
  const EDGES = ['server/postgres', 'server/transport', 'server/http', 'server/auth'];
  for (const edge of EDGES) {
    const others = EDGES.filter((other) => other !== edge);
    expect(breaches(under(edge), (name) => !others.some((other) => under(other)(name)))).toEqual([]);
  }
});

test('a module imports from its own floor and from those below, never from above', () => {
  expect(modules.filter(({ path }) => floorOf(path) < 0).map(({ path }) => path)).toEqual([]);
  const upward = (importer: string, name: string) => floorOf(name) > floorOf(importer);
  expect(
    breaches(
      () => true,
      (name, importer) => !isLocal(name) || !upward(importer, name),
    ),
  ).toEqual([]);
});

test('the gateway knows no extension, and no extension another but the one it builds on: one list has them', () => {
  for (const extension of EXTENSIONS) {
    expect(known).toContain(`${extension}/extension.ts`);
    const others = EXTENSIONS.filter((other) => other !== extension && other !== BUILDS_ON[extension]);
    expect(breaches(under(extension), (name) => !isIn(others)(name))).toEqual([]);
  }
  const core = (path: string) =>
    under('server')(path) && !isIn([...EXTENSIONS, 'server/cli', 'server/index.ts', 'server/demo.ts'])(path);
  const allowed = (name: string, importer: string) =>
    !isIn(EXTENSIONS)(name) || (importer === 'server/extensions.ts' && name.endsWith('/extension.ts'));
  expect(breaches(core, allowed)).toEqual([]);
});

test('no import leads back to its module, types included', () => {
  const graph = new Map(modules.map(({ path, local }) => [path, local]));
  const done = new Set<string>();
  const visit = (path: string, way: readonly string[]): void => {
    if (way.includes(path)) throw new Error([...way.slice(way.indexOf(path)), path].join(' -> '));
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...way, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
});

test('a file of the tests is short as well', () => {
  const files = readdirSync(join(ROOT, 'test'), { recursive: true, encoding: 'utf8' });
  const lines = files
    .filter((name) => /\.(ts|mjs)$/.test(name))
    .map((name) => ({ name, lines: readFileSync(join(ROOT, 'test', name), 'utf8').split('\n').length - 1 }));
  expect(lines.length).toBeGreaterThan(200);
  expect(lines.filter(({ lines }) => lines > MAX_LINES)).toEqual([]);
});

test('a file is short, and named after what is in it', () => {
  expect(modules.filter(({ lines }) => lines > MAX_LINES).map(({ path, lines }) => `${path}: ${lines} lines`)).toEqual(
    [],
  );
  expect(
    modules.filter(({ path }) => /\/(types|utils?|helpers?|common|misc)\.tsx?$/.test(path)).map(({ path }) => path),
  ).toEqual([]);
});
