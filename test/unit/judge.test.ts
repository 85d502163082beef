import { expect, test } from '@jest/globals';
import { digestOf } from '../../server/verify/digest.js';
import { Judge } from '../../server/verify/judge.js';
import { BadHistory, parseLine } from '../../server/verify/line.js';
import { FakeLog } from '../support/fake-log.js';

const CHANNEL = 's:a';

function setup(rows = 5) {
  const log = new FakeLog({ bytes: 10_000, rows: 100 });
  log.create(CHANNEL, rows);
  const judge = new Judge(log);
  let at = 0;
  const feed = async (type: string, fields: object, client = 'c') => {
    at += 10;
    await judge.feed(JSON.stringify({ at, client, channel: CHANNEL, type, ...fields }));
  };
  const event = (position: string, client?: string) => feed('event', { position }, client);
  return { log, judge, feed, event };
}

test('a table that grows while its history is judged', async () => {
  const { log, judge, feed, event } = setup(5);
  await feed('begin', { since: 'start' });
  for (let seq = 1; seq <= 5; seq += 1) await event(`e1.${seq}`);
  log.write(CHANNEL, 3);
  for (let seq = 6; seq <= 8; seq += 1) await event(`e1.${seq}`);
  await feed('end', { position: 'e1.8' });
  expect(await judge.finish({ complete: true })).toMatchObject({ clean: true, total: { events: 8, silence: 10 } });
});

test('a seq to begin with, and a client that goes on later than it had come', async () => {
  const { judge, feed, event } = setup(9);
  await feed('begin', { since: '2' });
  await event('e1.3');
  await event('e1.4');
  await feed('end', { position: 'e1.4' });
  await feed('begin', { since: 'e1.6' }); // 5 and 6 never came
  await event('e1.7');
  await feed('begin', { since: 'e1.2' }); // reads again what it has: no fault
  await event('e1.3');
  const { readers } = await judge.finish();
  expect(readers).toMatchObject([{ sessions: 3, events: 4, gaps: 2, duplicates: 0, position: 'e1.3', ended: false }]);
  expect(readers[0]?.faults).toEqual([{ kind: 'gaps', line: 5, message: 'seq 5 to 6 are missing' }]);
});

test('events of a numbering that is gone: no fault where a reset said so, foreign where none did', async () => {
  const { log, judge, feed, event } = setup(5);
  for (const client of ['told', 'untold']) {
    await feed('begin', { since: 'start' }, client);
    await event('e1.1', client);
    await event('e1.2', client);
  }
  log.renumber(CHANNEL, 3);
  await feed('reset', { reason: 'epoch', position: 'e2.3' }, 'told');
  await event('e2.1', 'untold');
  const { readers } = await judge.finish();
  expect(readers).toMatchObject([
    { client: 'told', foreign: 0 },
    { client: 'untold', foreign: 1, gone: 0 },
  ]);
  // They were compared before the numbering changed. A judge that comes later cannot any more.
  const later = new Judge(log);
  const line = { at: 1, client: 'c', channel: CHANNEL };
  await later.feed(JSON.stringify({ ...line, type: 'begin', since: 'start' }));
  await later.feed(JSON.stringify({ ...line, type: 'event', position: 'e1.1' }));
  expect(await later.finish()).toMatchObject({ total: { foreign: 1, gone: 0 } });
});

test('a client that never got an event is found where all of them were to come', async () => {
  const { judge, feed } = setup(5);
  await feed('begin', { since: 'start' });
  expect(await judge.finish({ complete: true })).toMatchObject({ clean: false, total: { missing: 5 } });
});

test('a row has one digest, however its columns and keys are ordered, and another value another', () => {
  expect(digestOf({ a: 1, b: { d: [1, 'ü'], c: null } })).toBe(digestOf({ b: { c: null, d: [1, 'ü'] }, a: 1 }));
  expect(digestOf({ order_id: 7, event_type: 'paid', note: null })).toBe('1b62f58d7d80caea');
  expect(new Set([{}, { a: null }, { a: '1' }, { a: 1 }, { a: [1] }, { a: [[1]] }].map(digestOf)).size).toBe(6);
});

test('what is no line of a history says why', () => {
  const line = { at: 1, client: 'c', channel: CHANNEL, type: 'event', position: 'e1.1' };
  expect(parseLine(JSON.stringify({ ...line, more: true }))).toMatchObject({ position: { epoch: 'e1', seq: 1 } });
  const why = (text: string) => {
    try {
      parseLine(text);
    } catch (error) {
      return error instanceof BadHistory ? error.message : error;
    }
    return undefined;
  };
  expect(why('')).toBe('is not JSON');
  expect(why(JSON.stringify({ ...line, position: '1' }))).toBe('position: is not a position like 58326d.42');
  expect(why(JSON.stringify({ ...line, digest: 'x' }))).toBe('digest: is not 16 hexadecimal digits');
  expect(why(JSON.stringify({ ...line, type: 'begin', since: 'e1' }))).toContain('since: is not start, now');
  expect(why(JSON.stringify({ ...line, at: undefined }))).toContain('at: ');
});
