import { readdirSync, readFileSync } from 'node:fs';
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
    local: named.filter((name) => name.startsWith('.')).map((name) => resolve(path, name)),
    packages: named.filter((name) => !name.startsWith('.')),
  };
}

function resolve(from: string, name: string): string {
  return posix.join(dirname(from), name).replace(/\.js$/, '.ts');
}

const modules = ['client', 'server'].flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.tsx?$/.test(name))
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

/** The floors, the lowest first. A module imports from its own floor and from those below. */
const FLOORS: readonly { readonly name: string; readonly holds: (path: string) => boolean }[] = [
  { name: 'protocol', holds: (path) => under('client/protocol')(path) || under('client/progress')(path) },
  {
    name: 'ground',
    holds: (path) =>
      /^server\/(batch|config|logger|free-port|metrics|refusal|origins|forwarded|package-root|storable)\.ts$|^server\/settings\/|^server\/verify\/digest\.ts$|^client\/(clock|call|environment|error|backoff|queue)\.ts$/.test(
        path,
      ),
  },
  {
    name: 'ports',
    holds: (path) => under('server/ports')(path) || /^client\/(carrier|transport\/rung)\.ts$/.test(path),
  },
  {
    name: 'parts',
    holds: (path) =>
      /^server\/(access|hub|connection|durable-streams|executions)\/|^server\/verify\/(contents|judge|line|reader|verdict)\.ts$|^server\/doorbell\.ts$|^client\/(sequencer|subscription|session|visit|ladder|climb)\.ts$|^client\/transport\/(roster|requests|event-stream)\.ts$|^client\/tabs\/(cursor|identity|port|relay|shared-channel)\.ts$|^client\/polling\/(answer|breaker|channels|poller|settings|statistics)\.ts$/.test(
        path,
      ),
  },
  {
    // server/clock.ts is the system's clock behind the port `Clock`, and so an edge, the smallest of them.
    name: 'edges',
    holds: (path) =>
      /^server\/(postgres|transport|http|auth)\/|^server\/(clock|demo|verify\/recorder)\.ts$|^client\/(remembered|tabs\/(browser|leader|link)|polling\/exchange|transport\/(websocket|http|sse|poll))\.ts$/.test(
        path,
      ),
  },
  {
    name: 'wiring',
    holds: (path) =>
      /^server\/(gateway|doors)\.ts$/.test(path) ||
      /^client\/(client|direct|late|polling\/(service|shell)|tabs\/(load|share))\.ts$/.test(path),
  },
  {
    name: 'doors',
    holds: (path) => /^server\/cli\/|^server\/(index|main)\.ts$|^client\/(index|node)\.ts$/.test(path),
  },
];

function floorOf(path: string): number {
  return FLOORS.findIndex(({ holds }) => holds(path));
}

const isPart = (path: string) => floorOf(path) === FLOORS.findIndex(({ name }) => name === 'parts');

test('the imports were found: every module of the house, and every import leads to one or to a package', () => {
  expect(modules.length).toBeGreaterThan(30);
  expect(modules.flatMap(({ local }) => local).length).toBeGreaterThan(100);
  expect(
    modules.flatMap(({ path, local }) => local.filter((name) => !known.has(name)).map((name) => `${path} -> ${name}`)),
  ).toEqual([]);
  expect(modules.find(({ path }) => path === 'client/index.ts')?.local).toContain('client/client.ts'); // export … from
  expect(modules.find(({ path }) => path === 'client/session.ts')?.local).toContain('client/protocol/index.ts'); // many lines
  expect(modules.find(({ path }) => path === 'client/transport/websocket.ts')?.packages).toContain(
    'reconnecting-websocket',
  );
});

test.each(['client/protocol', 'client/progress'])('%s imports nothing but itself', (folder) => {
  expect(breaches(under(folder), under(folder))).toEqual([]);
});

test('the client runs in a browser: no module of Node, no package but its socket, nothing of the server', () => {
  const browser = (path: string) => under('client')(path) && path !== 'client/node.ts';
  const allowed = (name: string, importer: string) =>
    (isLocal(name) && under('client')(name) && name !== 'client/node.ts') ||
    (name === 'reconnecting-websocket' && importer === 'client/transport/websocket.ts');
  expect(breaches(browser, allowed)).toEqual([]);
  expect(
    breaches(
      (path) => path === 'client/node.ts',
      (name) => under('client')(name) || name === 'ws',
    ),
  ).toEqual([]);
});

test('of the client the server knows the protocol and the progress alone; its command line is a client too', () => {
  const allowed = (name: string, importer: string) =>
    !under('client')(name) ||
    under('client/protocol')(name) ||
    under('client/progress')(name) ||
    (under('server/cli')(importer) && name === 'client/node.ts');
  expect(breaches(under('server'), allowed)).toEqual([]);
});

test('the parts do no I/O: no package but those that do none either, no module of Node, and no edge', () => {
  expect(modules.filter(({ path }) => isPart(path)).length).toBeGreaterThan(10);
  const allowed = (name: string) =>
    isLocal(name) ? floorOf(name) <= floorOf('server/hub/hub.ts') : ['zod', 'p-retry', 'lru-cache'].includes(name);
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

test('a file is short, and named after what is in it', () => {
  expect(modules.filter(({ lines }) => lines > MAX_LINES).map(({ path, lines }) => `${path}: ${lines} lines`)).toEqual(
    [],
  );
  expect(
    modules.filter(({ path }) => /\/(types|utils?|helpers?|common|misc)\.tsx?$/.test(path)).map(({ path }) => path),
  ).toEqual([]);
});
