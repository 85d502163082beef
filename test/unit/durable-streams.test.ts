import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { type Frame, formatPosition } from '../../client/protocol/index.js';
import { eventStream } from '../../server/durable-streams/event-stream.js';
import { formatOffset, sinceOf } from '../../server/durable-streams/offset.js';
import { parseReadRequest } from '../../server/durable-streams/read-request.js';
import { refusalOf } from '../../server/durable-streams/refusal-of.js';
import { nextStreamCursor } from '../../server/durable-streams/stream-cursor.js';
import { Refusal } from '../../server/ground/refusal.js';
import { arrayOf, eventsFrame, rowsOf } from '../../server/ports/events-frame.js';
import { seed } from '../property/seed.js';

const parameters = { seed: seed('durable-streams'), numRuns: 500 };

const seq = fc.oneof(fc.nat(1000), fc.maxSafeInteger().map(Math.abs));
const epoch = fc.stringMatching(/^[a-z0-9]{1,16}$/);

const frame = (channel: string, from: number, rows: readonly string[]) =>
  eventsFrame(channel, from, from + rows.length - 1, Buffer.from(rows.join(',')));

describe('offsets', () => {
  test('say where a reader stands, in the order of the events, in characters that a URL takes', () => {
    fc.assert(
      fc.property(epoch, seq, seq, (name, one, other) => {
        const offset = (of: number) => formatOffset(formatPosition({ epoch: name, seq: of }));
        expect(sinceOf(offset(one))).toBe(formatPosition({ epoch: name, seq: one }));
        expect(offset(one) < offset(other)).toBe(one < other);
        expect(offset(one)).toMatch(/^[a-z0-9_]{18,33}$/);
      }),
      parameters,
    );
  });

  test('are nothing else', () => {
    expect([sinceOf('-1'), sinceOf('now')]).toEqual(['start', 'now']);
    const wrong = [
      '',
      'start',
      '0',
      '41',
      'k3x9.41',
      'k3x9_41',
      'K3x9_0000000000000041',
      'k3x9_9999999999999999',
      'k_0000000000000041 ',
    ];
    for (const offset of wrong) expect([offset, sinceOf(offset)]).toEqual([offset, null]);
  });
});

test('a cursor is the number of an interval of 20 seconds, and later than the one that was shown', () => {
  const interval = (moment: string) => nextStreamCursor(Date.parse(moment), undefined, 0);
  expect(interval('2024-10-09T00:00:00Z')).toBe(0);
  expect(interval('2024-10-09T00:01:00Z')).toBe(3);
  fc.assert(
    fc.property(
      fc.nat(2 ** 40),
      fc.nat(2 ** 30),
      fc.double({ min: 0, max: 0.999, noNaN: true }),
      (since, shown, random) => {
        const now = Date.parse('2024-10-09T00:00:00Z') + since;
        const cursor = nextStreamCursor(now, shown, random);
        expect(Number.isInteger(cursor)).toBe(true);
        expect(cursor).toBeGreaterThanOrEqual(nextStreamCursor(now, undefined, 0));
        expect(cursor).toBeGreaterThan(shown);
      },
    ),
    parameters,
  );
});

describe('rows of a frame', () => {
  test('are found whatever the channel is called and whatever they hold', () => {
    const nasty = fc.constantFrom('"events":[', ']}', '"from":7', '\\', '"', ',"events":[{');
    const name = fc.oneof(nasty, fc.string());
    fc.assert(
      fc.property(
        fc.tuple(name, name),
        fc.nat(10 ** 6),
        fc.array(name, { minLength: 1, maxLength: 5 }),
        (key, from, texts) => {
          const rows = texts.map((text) => ({ text }));
          const data = frame(
            `s:${key.join('')}`,
            from + 1,
            rows.map((row) => JSON.stringify(row)),
          );
          expect(JSON.parse(`[${rowsOf(data)}]`)).toEqual(rows);
          expect(data.from).toBe(from + 1);
          expect(JSON.parse(arrayOf([data, data]).toString())).toEqual([...rows, ...rows]);
        },
      ),
      parameters,
    );
    expect(arrayOf([]).toString()).toBe('[]');
  });
});

describe('an event stream', () => {
  const place = { behind: false, positions: () => [['s:k', 'k3x9.2']] as const };
  const subscribed: Frame = { type: 'subscribed', id: 1, channel: 's:k', epoch: 'k3x9', head: 2, floor: 1 };
  const reset: Frame = { type: 'reset', channel: 's:k', reason: 'pruned', position: 'k3x9.2' };
  const control = (upToDate: boolean) =>
    `event: control\ndata:{"streamNextOffset":"k3x9_0000000000000002","streamCursor":"7"${upToDate ? ',"upToDate":true' : ''}}\n\n`;

  test('tells at once who has everything, and after each page where the reader stands', () => {
    expect(eventStream('now', 7, place)(subscribed)).toEqual({ parts: [control(true)] });
    const limits = { maxFrameBytes: 1, maxSubscriptions: 1 };
    const connected: Frame = { type: 'connected', id: 0, session: 'x', heartbeat: 1, limits };
    const behind = { ...place, behind: true };
    const write = eventStream('start', 7, behind);
    expect(write(connected)).toEqual({ parts: [] });
    expect(write(subscribed)).toEqual({ parts: [] });
    const events = frame('s:k', 1, ['{"n":1}', '{"n":\r\n2}']);
    expect(write(events)).toEqual({ parts: ['event: data\ndata:[{"n":1},{"n":\ndata:2}]\n\n', control(false)] });
  });

  test('I2: ends at a reset, but for a reader that knows no position yet', () => {
    const fresh = eventStream('start', 7, { ...place, behind: true });
    expect(fresh(subscribed)).toEqual({ parts: [] });
    expect(fresh(reset)).toEqual({ parts: [] });
    fresh(frame('s:k', 1, ['{}', '{}']));
    expect(fresh(reset)).toEqual({ parts: [], end: new Refusal('position_gone') });
    expect(eventStream('k3x9.1', 7, place)(reset)).toEqual({
      parts: [],
      end: new Refusal('position_gone'),
    });
  });

  test('ends with the code of a refusal', () => {
    const ended = refusalOf({ type: 'unsubscribed', channel: 's:k', code: 'unknown_channel' }, 'now');
    expect(ended?.code).toBe('unknown_channel');
    const refused = refusalOf({ type: 'error', id: 0, code: 'unauthorized', message: 'no' }, 'now');
    expect([refused?.code, refused?.message]).toEqual(['unauthorized', 'no']);
    expect(refusalOf({ type: 'error', code: 'of a later version', message: '' }, null)?.code).toBe('internal');
  });
});

describe('a question', () => {
  const read = (query: string) => parseReadRequest(new URLSearchParams(query));

  test('has defaults, and what is not known is passed over', () => {
    expect(read('foo=1')).toEqual({ since: 'start', live: undefined, cursor: undefined, wait: 0 });
    expect(read('offset=now&live=long-poll')).toEqual({
      since: 'now',
      live: 'long-poll',
      cursor: undefined,
      wait: 20_000,
    });
    expect(read('offset=-1&live=long-poll&timeout=1.5&cursor=12').wait).toBe(1500);
    expect(read('offset=-1&live=sse&cursor=soon')).toMatchObject({ live: 'sse', cursor: undefined });
  });

  test('is refused where it cannot be meant', () => {
    const wrong = [
      'offset=',
      'offset=a',
      'offset=-1&offset=-1',
      'live=sse',
      'live=long-poll',
      'offset=-1&live=yes',
      'timeout=61',
      'timeout=x',
    ];
    for (const query of wrong) expect(() => read(query)).toThrow(Refusal);
    expect(() => read('offset=a')).toThrow('offset: must be -1, now, or the offset of a response');
  });
});
