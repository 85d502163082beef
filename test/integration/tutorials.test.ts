import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { freePort } from '../../server/ground/free-port.js';
import { packageRoot } from '../../server/ground/package-root.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { lacks } from '../support/installed.mjs';
import { Bindings, type Block, blocksOf } from '../support/page.js';
import { program } from '../support/programs.js';
import { Terminal } from '../support/terminal.js';
import { until } from '../support/until.js';

const README = 'README.md';
const QUICK_START = 'docs/quickstart.md';

/** For commands that end, and for each line that a page shows. */
const PATIENCE = 30_000;

const tools = ['psql', 'curl', 'python3', 'openssl'] as const;
const describeTutorials = lacks('README and quick start', ...tools) ? describe.skip : describe;

/** A fresh clone after `npm ci && npm run build`, as far as the pages see it. */
async function makeClone(): Promise<string> {
  const clone = await mkdtemp(join(tmpdir(), 'rowcast-tutorial-'));
  await chmod(clone, 0o755); // as root, the embedded PostgreSQL runs as another user
  const description = { name: 'rowcast', version: '0.1.0', exports: { './client': './client.mjs' } };
  await writeFile(join(clone, 'package.json'), JSON.stringify(description));
  await symlink(join(packageRoot(), 'node_modules'), join(clone, 'node_modules'));
  await writeFile(join(clone, 'client.mjs'), `export * from ${JSON.stringify(program('client/node.ts'))};\n`);
  const bin = join(clone, 'bin');
  await mkdir(bin);
  const rowcast = `exec '${process.execPath}' '${program('server/main.ts')}'`;
  const npm = `case "$1" in ci) exit 0;; start) ${rowcast} up;; *) echo "npm $*: not expected"; exit 1;; esac`;
  const npx = `[ "$1" = rowcast ] || { echo "npx $*: not expected"; exit 1; }; shift; ${rowcast} "$@"`;
  await writeFile(join(bin, 'npm'), `#!/bin/sh\n${npm}\n`, { mode: 0o755 });
  await writeFile(join(bin, 'npx'), `#!/bin/sh\n${npx}\n`, { mode: 0o755 });
  return clone;
}

/** Follows a page as its reader would: opens terminals, types, compares. */
class Reader {
  readonly #clone: string;
  readonly #env: Record<string, string>;
  readonly #bindings: Bindings;
  readonly #terminals = new Map<string, { terminal: Terminal; running: boolean; seen: number }>();
  #last = 'main';

  constructor(clone: string, env: Record<string, string>, known: Record<string, string>) {
    this.#clone = clone;
    this.#env = env;
    this.#bindings = new Bindings(known);
  }

  async follow(block: Block): Promise<void> {
    if (block.norun !== undefined) return;
    if (block.file !== undefined) await writeFile(join(this.#clone, block.file), this.#bindings.apply(block.text));
    else if (block.language === 'sh') await this.#type(block);
    else if (block.language === 'text') await this.#compare(block);
  }

  async #type({ text, terminal: name = 'main', running, exit, at }: Block): Promise<void> {
    this.#last = name;
    let window = this.#terminals.get(name);
    if (window === undefined) {
      window = { terminal: new Terminal(name, this.#clone, this.#env), running, seen: 0 };
      this.#terminals.set(name, window);
    }
    Object.assign(window, { running, seen: 0 });
    const { terminal } = window;
    await terminal.type(this.#bindings.apply(text));
    if (running) return;
    const code = await terminal.ended(PATIENCE);
    expect({ at, code, printed: code === exit ? '' : terminal.text }).toEqual({ at, code: exit, printed: '' });
  }

  async #compare({ text, terminal: name = this.#last, at }: Block): Promise<void> {
    const window = this.#terminals.get(name);
    if (window === undefined) throw new Error(`${at}: nothing was typed into terminal ${name}`);
    const shown = text.trimEnd().split('\n');
    const printed = () => (window.running ? window.terminal.lines() : window.terminal.text.trimEnd().split('\n'));
    if (window.running) {
      const next = async () => this.#bindings.match(shown, printed().slice(window.seen));
      const lines = await until(async () => ((await next()) ?? -1) + 1, { deadlineMs: PATIENCE, what: at }).catch(
        () => 0,
      );
      if (lines === 0) expect({ at, printed: printed().slice(window.seen) }).toEqual({ at, printed: shown });
      window.seen += lines - 1;
    } else if (this.#bindings.match(shown, printed()) !== printed().length) {
      expect({ at, printed: printed() }).toEqual({ at, printed: shown });
    }
  }

  /** Closes all windows: the next page opens new ones. */
  async close(): Promise<void> {
    for (const { terminal } of [...this.#terminals.values()].reverse()) await terminal.interrupt();
    for (const name of this.#terminals.keys()) await rm(join(this.#clone, `.terminal-${name}`), { force: true });
    this.#terminals.clear();
  }

  kill(): void {
    for (const { terminal } of this.#terminals.values()) terminal.kill();
  }
}

describeTutorials('README and quick start can be followed on one database', () => {
  let clone: string;
  let own: TestDatabase;
  let reader: Reader | undefined;

  beforeAll(async () => {
    [clone, own] = await Promise.all([makeClone(), createDatabase()]);
  });
  afterAll(async () => {
    reader?.kill();
    await rm(clone, { recursive: true });
    await own.drop();
  });

  test('first README, then the quick start', async () => {
    const port = `${await freePort()}`;
    const { PATH = '', HOME = '' } = process.env;
    const env = {
      PATH: `${join(clone, 'bin')}${delimiter}${PATH}`,
      HOME,
      PYTHONUNBUFFERED: '1',
      ROWCAST_PORT: port,
      ROWCAST_URL: `http://127.0.0.1:${port}`,
    };
    for (const page of [README, QUICK_START]) {
      reader = new Reader(clone, env, { 'postgres://user:password@host:5432/database': own.url });
      for (const block of blocksOf(page)) await reader.follow(block);
      await reader.close();
    }
  }, 300_000);
});

/** The tables that a page makes and the channels that it names, but for those of the demo. */
function namesOf(page: string): string[] {
  const text = blocksOf(page)
    .map((block) => block.text)
    .join('\n');
  const tables = [...text.matchAll(/CREATE TABLE (\w+)/g)].map(([, name = '']) => name);
  const channels = [...text.matchAll(/\b((?!execution|venture|http)[a-z]+:[a-z0-9]+)\b/g)].map(([, name = '']) => name);
  return [...new Set([...tables, ...channels])].filter((name) => !/:\/\/|^\d|:\d{4,}/.test(name));
}

test('neither page needs the other or is in its way: they share no table and no channel', () => {
  const [readme, quickStart] = [namesOf(README), namesOf(QUICK_START)];
  expect(readme).toEqual(expect.arrayContaining(['orders', 'orders:7', 'message:lobby']));
  expect(quickStart).toEqual(expect.arrayContaining(['parcels', 'parcels:7', 'message:hall']));
  expect(readme.filter((name) => quickStart.includes(name))).toEqual([]);
});

test('every block of commands says how it is run, and the exceptions are few', () => {
  const exceptions = [README, QUICK_START].flatMap(blocksOf).filter(({ norun }) => norun !== undefined);
  expect(exceptions.map(({ text }) => text)).toEqual(['npm ci && npm test\n']);
  const unlabelled = [README, QUICK_START].flatMap(blocksOf).filter(({ language }) => language === '');
  expect(unlabelled.map(({ at }) => at)).toEqual([]);
});

test('an output that differs from that of the page is found', () => {
  const bindings = new Bindings();
  const shown = ['…', 'live at 58326d.0', '#1  00:35:13.968  greeting  {"a":…}'];
  expect(bindings.match(shown, ['first', 'live at abcdef.0', '#1  10:00:00.000  greeting  {"a":1}', 'more'])).toBe(3);
  expect(bindings.apply('--since 58326d.2')).toBe('--since abcdef.2');
  expect(bindings.match(['58326d.1'], ['abcdef.1'])).toBe(1);
  expect(bindings.match(['58326d.1'], ['123456.1'])).toBeNull(); // another numbering
  expect(bindings.match(['58326d.1'], ['abcdef.2'])).toBeNull();
  expect(bindings.match(shown, ['live at abcdef.0'])).toBeNull(); // the last line has not come
});
