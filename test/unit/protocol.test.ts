import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { RowcastError } from '../../client/ground/error.js';
import {
  closeStops,
  codeOfClose,
  type ErrorEntry,
  errors,
  formatPosition,
  isErrorCode,
  outcomeOf,
  parseFrame,
  parsePosition,
} from '../../client/protocol/index.js';
import { seed } from '../property/seed.js';

const parameters = { seed: seed('protocol'), numRuns: 500 };

describe('positions', () => {
  const position = fc.record({
    epoch: fc.stringMatching(/^[a-z0-9]{1,16}$/),
    seq: fc.oneof(fc.nat(100), fc.maxSafeNat()),
  });

  test('a position written as text is read as the same position', () => {
    fc.assert(
      fc.property(position, (position) => {
        expect(parsePosition(formatPosition(position))).toEqual(position);
      }),
      parameters,
    );
  });

  test('one position has one text: what is read is written as it was', () => {
    const near = fc.stringMatching(/^[a-zA-Z0-9 _-]{0,18}[.,]?[-+ ]?[0-9a-f]{0,17}\n?$/);
    fc.assert(
      fc.property(fc.oneof(fc.string(), near), (text) => {
        const parsed = parsePosition(text);
        if (parsed !== null) expect(formatPosition(parsed)).toBe(text);
      }),
      parameters,
    );
  });

  test.each([
    '',
    '.',
    'a.',
    '.1',
    'a.-1',
    'a.01',
    'a.1.2',
    'A.1',
    'a.1 ',
    'a.1\n',
    'a b.1',
    'a.1e3',
    'a.9007199254740992',
  ])('%j is no position', (text) => {
    expect(parsePosition(text)).toBeNull();
  });
});

describe('parseFrame', () => {
  const frames = [
    { type: 'connected', id: 1, session: 's', heartbeat: 1, limits: { maxFrameBytes: 1, maxSubscriptions: 1 } },
    { type: 'subscribed', id: 1, channel: 'a:1', epoch: 'e', head: 2, floor: 1 },
    { type: 'unsubscribed', channel: 'a:1', code: 'requested' },
    { type: 'refreshed', id: 1 },
    { type: 'pong', id: 1 },
    { type: 'error', code: 'internal', message: 'm' },
    { type: 'events', channel: 'a:1', from: 1, events: [{ n: 1 }] },
    { type: 'reset', channel: 'a:1', reason: 'epoch', position: 'e.1' },
  ];

  test.each(frames)(
    'a frame of type $type is read, whatever a later version adds, and never without a field',
    (frame) => {
      expect(parseFrame(JSON.stringify({ ...frame, added: true }))).toEqual({ ...frame, added: true });
      for (const field of Object.keys(frame)) {
        for (const wrong of [undefined, null, true, field === 'limits' ? [] : {}]) {
          expect(parseFrame(JSON.stringify({ ...frame, [field]: wrong }))).toBeNull();
        }
      }
    },
  );

  test('an error may say when to come back, in milliseconds and in nothing else', () => {
    const error = { type: 'error', code: 'rate_limited', message: 'm' };
    expect(parseFrame(JSON.stringify({ ...error, retryAfter: 1_240 }))).toEqual({ ...error, retryAfter: 1_240 });
    for (const wrong of [null, '1240', {}, true]) {
      expect(parseFrame(JSON.stringify({ ...error, retryAfter: wrong }))).toBeNull();
    }
  });

  test('garbage is no frame, and never throws', () => {
    const texts = [
      '',
      '{',
      'null',
      '[]',
      '"pong"',
      '{}',
      '{"type":"toString"}',
      '{"type":"__proto__"}',
      '{"type":"later","id":1}',
      '{"type":["pong"],"id":1}',
    ];
    for (const text of texts) expect(parseFrame(text)).toBeNull();
    const known = frames.map(({ type }) => type);
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.json(),
          fc.record({ type: fc.constantFrom(...known), id: fc.jsonValue() }).map((value) => JSON.stringify(value)),
        ),
        (text) => {
          const frame = parseFrame(text);
          if (frame !== null) expect(known).toContain(frame.type);
        },
      ),
      parameters,
    );
  });
});

describe('the table of errors', () => {
  const entries: [string, ErrorEntry][] = Object.entries(errors);
  const closing = entries.flatMap(([code, { close, outcome }]) =>
    close === undefined ? [] : [{ code, close, outcome }],
  );

  test('every close code is there once, in the range that tells its outcome', () => {
    expect(new Set(closing.map(({ close }) => close)).size).toBe(closing.length);
    expect(closing.length).toBeGreaterThan(5);
    for (const { close, outcome } of closing) {
      expect(close).toBeGreaterThanOrEqual(outcome === 'stop' ? 4500 : 4000);
      expect(close).toBeLessThanOrEqual(outcome === 'stop' ? 4999 : 4499);
    }
  });

  test('every entry says what it means and what to do, in sentences', () => {
    for (const [code, { meaning, action }] of entries) {
      expect(code).toMatch(/^[a-z]+(_[a-z]+)*$/);
      for (const text of [meaning, action]) expect(text).toMatch(/^[A-Z].+\.$/);
    }
  });

  test('a close code leads to its entry, and stops just where that says stop', () => {
    for (const { code, close, outcome } of closing) {
      expect(codeOfClose(close)).toBe(code);
      expect(closeStops(close)).toBe(outcome === 'stop');
    }
    for (const close of [1000, 1001, 1006, 1011, 3999, 4499, 5000]) {
      expect([codeOfClose(close), closeStops(close)]).toEqual([null, false]);
    }
    expect([1009, 4500, 4999].map(closeStops)).toEqual([true, true, true]);
  });

  test('a code that a later gateway added is retried, also if its name is that of a method', () => {
    for (const code of ['later', 'toString', '__proto__']) {
      expect(isErrorCode(code)).toBe(false);
      expect(outcomeOf(code).outcome).toBe('retry');
      expect(new RowcastError(code).retries).toBe(true);
    }
    expect(new RowcastError('unauthorized')).toMatchObject({ code: 'unauthorized', retries: false });
    expect(new RowcastError('unauthorized').message).toBe('unauthorized');
  });
});
