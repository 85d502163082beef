import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { dirname, join, posix } from 'node:path';
import { expect, test } from '@jest/globals';
import { errors } from '../../client/protocol/index.js';
import { generated } from '../../docs/generate.js';

const ROOT = join(import.meta.dirname, '../..');
const read = (path: string) => readFileSync(join(ROOT, path), 'utf8');

const pages = [
  ...readdirSync(ROOT).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.md'))
    .map((name) => posix.join('docs', name.replaceAll('\\', '/'))),
];

/** The text of a page without its blocks of code. */
const prose = (page: string) => read(page).replace(/^```[\s\S]*?^```$/gm, '');

/** What a heading is called in a link, as GitHub makes it. */
function anchors(page: string): Set<string> {
  const headings = [...prose(page).matchAll(/^#{1,6} (.+)$/gm)].map(([, text = '']) => text);
  return new Set(
    headings.map((text) =>
      text
        .toLowerCase()
        .replace(/[^\p{L}\p{N}\s_-]/gu, '')
        .replace(/\s/g, '-'),
    ),
  );
}

function brokenLinks(page: string): string[] {
  const targets = [...prose(page).matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = '']) => target);
  return targets.filter((target) => {
    if (/^[a-z]+:/.test(target)) return false;
    const [path = '', anchor] = target.split('#');
    const file = path === '' ? page : posix.join(dirname(page), path);
    if (!existsSync(join(ROOT, file))) return true;
    return anchor !== undefined && !anchors(file).has(anchor);
  });
}

test.each([...generated().keys()])('%s is what `npm run docs` writes', (path) => {
  expect(read(path)).toBe(generated().get(path));
});

test.each(pages)('the links of %s lead somewhere', (page) => {
  expect(brokenLinks(page)).toEqual([]);
});

test('a link to a missing page or heading is found', () => {
  expect(anchors('docs/protocol.md')).toContain('13-errors');
  expect(anchors('docs/protocol.md')).not.toContain('13-faults');
});

test('the protocol mentions every error code', () => {
  const protocol = read('docs/protocol.md');
  const missing = Object.keys(errors).filter((code) => !protocol.includes(`\`${code}\``));
  expect(missing).toEqual([]);
});

test('the protocol shows every type of frame', () => {
  const protocol = read('docs/protocol.md');
  const types = new Set([...read('client/protocol/frames.ts').matchAll(/\btype: '([a-z]+)'/g)].map(([, type]) => type));
  expect(types).toContain('subscribe');
  expect(types).toContain('reset');
  const missing = [...types].filter((type) => !protocol.includes(`{"type":"${type}"`));
  expect(missing).toEqual([]);
});

test('every setting that a page names exists', () => {
  const known = new Set(
    [...read('docs/reference/settings.md').matchAll(/`(ROWCAST_[A-Z_]+)`/g)].map(([, name]) => name),
  );
  const current = pages.filter((page) => !page.startsWith('docs/decisions/') && page !== 'CHANGELOG.md');
  const wrong = current.flatMap((page) =>
    [...read(page).matchAll(/\bROWCAST_[A-Z]+(?:_[A-Z]+)*\b/g)]
      .map(([name]) => name.replace(/_FILE$/, ''))
      .filter((name) => !known.has(name))
      .map((name) => `${page}: ${name}`),
  );
  expect(known.size).toBeGreaterThan(30);
  expect(wrong).toEqual([]);
});

test('every file that a page names exists', () => {
  const named = /`((?:client|server|test|sql|docs)\/[\w./-]+\.(?:ts|mjs|sql|md))`/g;
  const wrong = pages.flatMap((page) =>
    [...read(page).matchAll(named)]
      .map(([, path = '']) => path)
      .filter((path) => !existsSync(join(ROOT, path)))
      .map((path) => `${page}: ${path}`),
  );
  expect(wrong).toEqual([]);
});

test('every decision is in the list of decisions', () => {
  const list = read('docs/decisions/README.md');
  const decisions = readdirSync(join(ROOT, 'docs/decisions')).filter((name) => /^\d{4}-/.test(name));
  expect(decisions.filter((name) => !list.includes(`(${name})`))).toEqual([]);
});

test('each invariant is named by the tests that are said to prove it', () => {
  const page = read('docs/invariants.md');
  const names = ['I1', 'I2', 'I3', 'I4', 'I5', 'I6', 'I7', 'I8', 'I9'];
  const rows = [...page.matchAll(/^\| \*\*(I\d)\*\* .*$/gm)];
  const lists = [...page.matchAll(/<summary><strong>(I\d)<\/strong>: (\d+) tests<\/summary>([\s\S]*?)<\/details>/g)];
  expect(rows.map(([, name]) => name)).toEqual(names);
  expect(lists.map(([, name]) => name)).toEqual(names);
  const testsIn = (text: string) => [...text.matchAll(/\]\(\.\.\/(test\/[^)]+)\)/g)].map(([, path = '']) => path);
  for (const [index, [row]] of rows.entries()) {
    const [, , count, list = ''] = lists[index] ?? [];
    expect(testsIn(list)).toHaveLength(Number(count));
    expect(testsIn(row)).toHaveLength(1);
    expect(testsIn(list)).toEqual(expect.arrayContaining(testsIn(row)));
  }
  const wrong = lists.flatMap(([, name, , list = '']) =>
    testsIn(list)
      .filter((path) => !new RegExp(`['"\`][^'"\`\\n]*\\b${name}\\b`).test(read(path)))
      .map((path) => `${name}: ${path}`),
  );
  expect(wrong).toEqual([]);
});
