import { beforeEach, expect, test } from '@jest/globals';
import { EventQueue } from '../../client/ground/queue.js';
import { settle } from '../support/fakes.js';

let heard: string[];
let queue: EventQueue<number>;

beforeEach(() => {
  heard = [];
  queue = new EventQueue<number>({
    onFull: () => heard.push('full'),
    onDrained: () => heard.push('drained'),
    onReturn: () => heard.push('return'),
  });
});

function push(from: number, to: number): void {
  for (let value = from; value <= to; value += 1) queue.push(value);
}

async function take(count: number): Promise<(number | undefined)[]> {
  const values: (number | undefined)[] = [];
  for (let index = 0; index < count; index += 1) values.push((await queue.next()).value as number | undefined);
  return values;
}

test('I1 I3: values come once and in order, whether they wait for readers or readers for them', async () => {
  const early = [queue.next(), queue.next(), queue.next()];
  push(1, 5);
  const late = [queue.next(), queue.next(), queue.next()];
  push(6, 6);
  const results = await Promise.all([...early, ...late]);
  expect(results).toEqual([1, 2, 3, 4, 5, 6].map((value) => ({ value, done: false })));
});

test('I6: a reader that falls 1,000 behind stops the stream once, and starts it again 100 before the end', async () => {
  push(1, 999);
  expect(heard).toEqual([]);
  push(1_000, 1_005);
  expect(heard).toEqual(['full']);
  await take(904);
  expect(heard).toEqual(['full']);
  expect(await take(1)).toEqual([905]);
  expect(heard).toEqual(['full', 'drained']);
  await take(100);
  push(2_001, 3_000);
  expect(heard).toEqual(['full', 'drained', 'full']);
  expect(await take(1_000)).toEqual(Array.from({ length: 1_000 }, (_, index) => 2_001 + index));
  expect(heard).toEqual(['full', 'drained', 'full', 'drained']);
});

test('end: what waits is still read, then every reader is done', async () => {
  push(1, 2);
  queue.end();
  expect(await take(4)).toEqual([1, 2, undefined, undefined]);
  expect(await queue.next()).toEqual({ value: undefined, done: true });
});

test('end with an error: what waits is still read, then every reader gets the error, also those that wait', async () => {
  const failed = new Error('forbidden');
  const waiting = Promise.allSettled([queue.next(), queue.next(), queue.next()]);
  push(1, 1);
  queue.end(failed);
  queue.end(); // the first end counts
  expect(await waiting).toEqual([
    { status: 'fulfilled', value: { value: 1, done: false } },
    { status: 'rejected', reason: failed },
    { status: 'rejected', reason: failed },
  ]);
  await expect(queue.next()).rejects.toBe(failed);
});

test('leaving the loop forgets what waits, tells it once, and wakes other readers', async () => {
  push(1, 10);
  for await (const value of queue) if (value === 3) break;
  expect(heard).toEqual(['return']);
  expect(await queue.next()).toEqual({ value: undefined, done: true });

  let woken: unknown = null;
  const other = new EventQueue<number>({ onFull() {}, onDrained() {}, onReturn() {} });
  void other.next().then((result) => {
    woken = result;
  });
  await other.return();
  await settle();
  expect(woken).toEqual({ value: undefined, done: true });
});

test('I7: what is pushed after the end is not delivered', async () => {
  queue.end();
  queue.push(1);
  expect(await queue.next()).toEqual({ value: undefined, done: true });
});
