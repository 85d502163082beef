import { fnv1a, type Random } from '../support/random.js';

/** A row as a writer makes it: anybody who sees it can tell who wrote it, as which one, and whether it is whole. */
export interface Content {
  readonly key: string;
  readonly writer: number;
  /** Counts the rows of the writer, those of transactions that were rolled back included. */
  readonly counter: number;
  readonly body: string;
  readonly checksum: number;
}

const LONGEST_BODY = 240;
const ALPHABET = 'abcdefghijklmnopqrstuvwxyzäöü日本0123456789 "\\\n';

export function makeContent(key: string, writer: number, counter: number, random: Random): Content {
  const start = random.int(0, ALPHABET.length - 1);
  const pattern = ALPHABET.slice(start) + ALPHABET.slice(0, start);
  const body = pattern.repeat(8).slice(0, random.int(8, LONGEST_BODY));
  return { key, writer, counter, body, checksum: checksumOf({ key, writer, counter, body }) };
}

export function checksumOf({ key, writer, counter, body }: Omit<Content, 'checksum'>): number {
  return fnv1a(`${key}/${writer}/${counter}/${body}`);
}

/** Whether a row, as it came out of the gateway, is what a writer made. */
export function isWhole(row: Readonly<Record<string, unknown>>): boolean {
  const { key, writer, counter, body, checksum } = row;
  if (typeof key !== 'string' || typeof writer !== 'number') return false;
  if (typeof counter !== 'number' || typeof body !== 'string') return false;
  return checksumOf({ key, writer, counter, body }) === checksum;
}
