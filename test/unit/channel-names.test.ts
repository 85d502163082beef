import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Refusal } from '../../server/ground/refusal.js';
import { checkKey, type Stream, splitChannel } from '../../server/postgres/streams.js';
import { seed } from '../property/seed.js';

const parameters = { seed: seed('channel-names'), numRuns: 500 };

function accepts(keyType: Stream['key_type'], key: string): boolean {
  const stream: Stream = {
    id: 1,
    name: 'message',
    epoch: 'e',
    relation: 'public.messages',
    key: 'room',
    seq: 'seq',
    tx: 'tx',
    key_type: keyType,
    columns: ['body'],
    text_columns: ['body'],
    binary_columns: [],
    other_columns: [],
    problem: null,
    parent: null,
    parent_key: null,
    tracked: false,
  };
  try {
    checkKey(stream, key);
    return true;
  } catch (error) {
    if (error instanceof Refusal && error.code === 'invalid_channel') return false;
    throw error;
  }
}

describe('splitChannel', () => {
  test('a stream and a key, joined, are split into the same two, whatever the key holds', () => {
    const key = fc.oneof(fc.string({ minLength: 1 }), fc.constantFrom(':', 'a:b', '\n', ' ', '🐘', 'message:lobby'));
    fc.assert(
      fc.property(fc.stringMatching(/^[a-z][a-z0-9_-]{0,39}$/), key, (stream, key) => {
        expect(splitChannel(`${stream}:${key}`)).toEqual({ stream, key });
      }),
      parameters,
    );
  });

  test.each([
    '',
    'message',
    'message:',
    ':lobby',
    'Message:lobby',
    '1:lobby',
    ' message:a',
    'mes sage:a',
    `${'a'.repeat(41)}:a`,
  ])('%j is no channel, and the refusal shows how to write one', (channel) => {
    expect(() => splitChannel(channel)).toThrow(expect.objectContaining({ code: 'invalid_channel' }));
    expect(() => splitChannel(channel)).toThrow('<stream>:<key>');
  });
});

describe('checkKey: one channel has one name', () => {
  test.each([
    ['int2', 16n],
    ['int4', 32n],
    ['int8', 64n],
  ] as const)('%s takes the integers of its range, each in one spelling', (type, bits) => {
    const edge = 1n << (bits - 1n);
    const near = fc
      .bigInt({ min: -3n, max: 3n })
      .chain((offset) => fc.constantFrom(edge + offset, -edge + offset, offset));
    fc.assert(
      fc.property(fc.oneof(near, fc.bigInt({ min: -(1n << 70n), max: 1n << 70n })), (value) => {
        expect(accepts(type, String(value))).toBe(value >= -edge && value < edge);
        for (const other of [
          `0${value}`,
          `+${value}`,
          ` ${value}`,
          `${value} `,
          `${value}\n`,
          `${value}.0`,
          `${value}n`,
        ]) {
          expect(accepts(type, other)).toBe(false);
        }
      }),
      parameters,
    );
    for (const key of ['-0', '', '0x1', '1e1', '٣', '-']) expect(accepts(type, key)).toBe(false);
  });

  test('a uuid is written as Postgres writes it', () => {
    fc.assert(
      fc.property(fc.uuid(), (uuid) => {
        expect(accepts('uuid', uuid)).toBe(true);
        for (const other of [
          `{${uuid}}`,
          uuid.replaceAll('-', ''),
          `${uuid}\n`,
          `${uuid}0`,
          `f${uuid.toUpperCase().slice(1)}-`,
        ]) {
          expect(accepts('uuid', other)).toBe(false);
        }
      }),
      parameters,
    );
    expect(accepts('uuid', '6F1C0000-0000-4000-8000-000000000000')).toBe(false);
  });

  test.each(['text', 'varchar'] as const)('%s takes whatever Postgres can store, and nothing else', (type) => {
    for (const key of ['lobby', ' ', 'ÄÖ', '🐘', "'; --", '01']) expect(accepts(type, key)).toBe(true);
    expect(accepts(type, 'a\0b')).toBe(false);
  });

  test.each(['text', 'varchar'] as const)('%s: a lone surrogate would reach Postgres as another name', (type) => {
    expect(accepts(type, 'a\ud800')).toBe(false);
  });
});
