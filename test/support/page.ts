/**
 * Takes a page of the documentation apart, so that a test can do what its reader does. The words after the language of a
 * fenced block say how the block is used; GitHub shows none of them:
 *
 *     ```sh                          commands, typed into the terminal `main`; the reader waits until they end
 *     ```sh terminal=2               the same in another terminal; what still runs there is ended with Ctrl-C first
 *     ```sh terminal=2 running       commands that keep running
 *     ```sh exit=1                   commands that fail
 *     ```sh norun="why"              commands that no test can run, and why
 *     ```js file=tour.mjs            a file that the reader saves
 *     ```text                        what the last terminal prints: all of it, or of what keeps running the next lines
 *     ```text terminal=2             what another terminal prints next
 *
 * In printed text a line `…` stands for any lines, and `…` within a line for any text. Ids, epochs, addresses and times
 * differ from run to run: `Bindings` maps those of the page to those of the run.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../server/ground/package-root.js';

export interface Block {
  readonly language: string;
  readonly text: string;
  readonly terminal?: string;
  readonly file?: string;
  readonly norun?: string;
  readonly exit: number;
  readonly running: boolean;
  /** Where it begins, for messages: `README.md:42`. */
  readonly at: string;
}

/** The fenced blocks of a page, in order. */
export function blocksOf(path: string): Block[] {
  const page = readFileSync(join(packageRoot(), path), 'utf8');
  return [...page.matchAll(/^```(\w*)([^\n]*)\n([\s\S]*?)^```$/gm)].map((match) => {
    const [, language = '', words = '', text = ''] = match;
    const line = page.slice(0, match.index).split('\n').length;
    const options = [...words.matchAll(/(\w+)(?:=(?:"([^"]*)"|(\S+)))?/g)];
    const known = Object.fromEntries(options.map(([, name, quoted, bare]) => [name, quoted ?? bare ?? '']));
    return {
      exit: Number(known.exit ?? 0),
      running: 'running' in known,
      ...pick(known),
      language,
      text,
      at: `${path}:${line}`,
    };
  });
}

const pick = ({ terminal, file, norun }: Record<string, string | undefined>) => ({
  ...(terminal === undefined ? {} : { terminal }),
  ...(file === undefined ? {} : { file }),
  ...(norun === undefined ? {} : { norun }),
});

const HEX = '[0-9a-f]';
/** What differs from run to run. A name is the same thing wherever the page shows it; a time is not. */
const NAMES = [
  `127\\.0\\.0\\.1:\\d+`, // an address
  `%2F[\\w%.-]+pgdata:\\d+`, // that of the embedded PostgreSQL
  `${HEX}{8}-${HEX}{4}-${HEX}{4}-${HEX}{4}-${HEX}{12}`, // an id
  `\\b${HEX}{6}(?=\\.\\d)`, // an epoch, within a position
];
const TIMES = ['\\d{4}-\\d\\d-\\d\\dT[\\d:.]+(?:\\+00:00|Z)', '\\d\\d:\\d\\d:\\d\\d\\.\\d{3}'];
const VARIABLE = new RegExp(`(?<name>${NAMES.join('|')})|(?<time>${TIMES.join('|')})|(?<any>…)`, 'g');

const escaped = (text: string) => text.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

/** Which name of the page is which in this run. */
export class Bindings {
  readonly #real = new Map<string, string>();

  constructor(known: Readonly<Record<string, string>> = {}) {
    for (const [shown, real] of Object.entries(known)) this.#real.set(shown, real);
  }

  /** A text of the page with the names of this run. */
  apply(text: string): string {
    const shown = [...this.#real.keys()].sort((a, b) => b.length - a.length);
    if (shown.length === 0) return text;
    return text.replace(new RegExp(shown.map(escaped).join('|'), 'g'), (name) => this.#real.get(name) ?? name);
  }

  /** Whether a printed line is that of the page. If so, the names in it are known from then on. */
  matchLine(shown: string, printed: string): boolean {
    const fresh: string[] = [];
    let pattern = '';
    let end = 0;
    for (const { 0: text, index, groups } of shown.matchAll(VARIABLE)) {
      pattern += escaped(shown.slice(end, index));
      end = index + text.length;
      if (groups?.any !== undefined) pattern += '.*';
      else if (groups?.time !== undefined)
        pattern += TIMES.map((time) => `(?:${time})`)
          .join('|')
          .replace(/^.*$/, '(?:$&)');
      else if (this.#real.has(text)) pattern += escaped(this.#real.get(text) ?? '');
      else if (fresh.includes(text)) pattern += `\\${fresh.indexOf(text) + 1}`;
      else {
        fresh.push(text);
        pattern += `(${NAMES.find((name) => new RegExp(`^${name}`).test(`${text}.0`))})`;
      }
    }
    const match = new RegExp(`^${pattern}${escaped(shown.slice(end))}$`).exec(printed);
    if (match === null) return false;
    for (const [index, name] of fresh.entries()) this.#real.set(name, match[index + 1] ?? '');
    return true;
  }

  /** How many of the printed lines the shown ones account for, from the first on; null where they differ. */
  match(shown: readonly string[], printed: readonly string[]): number | null {
    const [line, ...rest] = shown;
    if (line === undefined) return 0;
    if (line !== '…') {
      if (printed[0] === undefined || !this.matchLine(line, printed[0])) return null;
      const more = this.match(rest, printed.slice(1));
      return more === null ? null : more + 1;
    }
    if (rest.length === 0) return printed.length;
    for (let skipped = 0; skipped < printed.length; skipped += 1) {
      const more = this.match(rest, printed.slice(skipped));
      if (more !== null) return more + skipped;
    }
    return null;
  }
}
