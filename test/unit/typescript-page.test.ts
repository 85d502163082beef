import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from '@jest/globals';
import { packageRoot } from '../../server/ground/package-root.js';

const read = (path: string) => readFileSync(join(packageRoot(), path), 'utf8');

/** Where each package on the page is made. */
const ENTRIES = {
  '@rowcast/client': 'client/index.ts',
  '@rowcast/client/progress': 'client/progress/index.ts',
  '@rowcast/client/protocol': 'client/protocol/index.ts',
  '@rowcast/client/store': 'client/store/index.ts',
  '@rowcast/client/react': 'client/react/index.ts',
  'rowcast/server': 'server/index.ts',
};

/** The names that a module exports, types included: there is nothing of these left when it runs. */
function exportsOf(path: string): string[] {
  const text = read(path);
  const lists = [...text.matchAll(/^export (?:type )?\{([^}]*)\}/gm)].flatMap(([, list = '']) => list.split(','));
  const listed = lists
    .map((name) =>
      name
        .trim()
        .replace(/^type /, '')
        .replace(/^\w+ as /, ''),
    )
    .filter(Boolean);
  const own = [...text.matchAll(/^export (?:async )?(?:const|function|class|interface|type) (\w+)/gm)].map(
    ([, name = '']) => name,
  );
  const passedOn = [...text.matchAll(/^export \* from '(\.[^']+)\.js';$/gm)].flatMap(([, file]) =>
    exportsOf(join(dirname(path), `${file}.ts`)),
  );
  return [...new Set([...listed, ...own, ...passedOn])].sort();
}

/** The names in the first column of the table below a heading. */
function namesOf(heading: string): string[] {
  const [, section = ''] = read('docs/reference/typescript.md').split(`## \`${heading}\`\n`);
  const [own = ''] = section.split('\n## ');
  const cells = [...own.matchAll(/^\| ([^|]*) \|/gm)].map(([, cell = '']) => cell);
  return cells.flatMap((cell) => [...cell.matchAll(/`(\w+)`/g)].map(([, name = '']) => name)).sort();
}

test.each(Object.entries(ENTRIES))(
  'docs/reference/typescript.md has every name of %s, and no other',
  (heading, path) => {
    expect(exportsOf(path).length).toBeGreaterThan(10);
    expect(namesOf(heading)).toEqual(exportsOf(path));
  },
);
