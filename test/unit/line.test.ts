import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { LanguageServer, type Place } from '../support/language-server.js';

const ROOT = join(import.meta.dirname, '../..');

/** The files through which an event may lead, with those of the ports. */
const MOST_FILES = 12;

interface Row extends Place {
  /** What the function calls next, such as `this.#hub.moved`; none in the last row. */
  readonly call: string | undefined;
  /** The method of an interface through which it calls that. */
  readonly port: Place | undefined;
}

const code = (cell: string) => [...cell.matchAll(/`([^`]+)`/g)].map(([, text = '']) => text);

/** The tables under a heading of docs/concepts.md. */
function tablesUnder(heading: string): Row[][] {
  const page = readFileSync(join(ROOT, 'docs/concepts.md'), 'utf8');
  const section = page.split(/^#+ /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  return section
    .split(/\n(?!\|)/)
    .map((block) => block.split('\n').filter((line) => line.includes('`')))
    .filter((lines) => lines.length > 1 && lines.every((line) => line.startsWith('|')))
    .map((lines) => lines.map(rowOf));
}

function rowOf(line: string): Row {
  const [, file = '', name = '', calls = '', through = ''] = line.split('|').slice(1, -1);
  const [portName, portFile] = code(through);
  return {
    file: code(file)[0] ?? '',
    name: code(name)[0] ?? '',
    call: code(calls)[0]?.replace(/\(\)$/, ''),
    port: portName === undefined || portFile === undefined ? undefined : { name: portName, file: portFile },
  };
}

const place = ({ file, name }: Place): Place => ({ file, name });

describe('the line of an event, as docs/concepts.md has it, is the one in the code', () => {
  const tables = tablesUnder('The line in the code');
  let server: LanguageServer;
  beforeAll(async () => {
    server = await LanguageServer.start(ROOT);
  });
  afterAll(async () => {
    await server.stop();
  });

  test('from the listener to a transport, from the table to the frame, from a link to the application: in few files', () => {
    const [line = [], frame = [], client = []] = tables;
    expect(tables).toHaveLength(3);
    expect(line.at(0)?.file).toBe('server/postgres/listener.ts');
    expect(line.at(-1)?.file).toMatch(/^server\/transport\//);
    expect(frame.length).toBeGreaterThan(3);
    expect(client.at(0)?.file).toMatch(/^client\/transport\//);
    expect(client.at(-1)?.name).toBe('notify');
    for (const half of [line, client]) {
      const files = new Set(half.flatMap(({ file, port }) => (port === undefined ? [file] : [file, port.file])));
      expect(files.size).toBeLessThanOrEqual(MOST_FILES);
    }
  });

  const hops = tables.flatMap((rows) => rows.slice(0, -1).map((row, index) => ({ row, next: rows[index + 1] as Row })));
  test.each(hops.map((hop) => [`${hop.row.name} → ${hop.next.name}`, hop] as const))('%s', async (_, { row, next }) => {
    const { call = '', port } = row;
    expect(await server.definitions(row, call)).toEqual([place(port ?? next)]);
    if (port === undefined) return;
    const implementations = await server.implementations(row, call);
    expect(implementations.filter(({ file }) => !file.startsWith('test/'))).toContainEqual(place(next));
  });
});
