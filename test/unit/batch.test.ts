import { expect, test } from '@jest/globals';
import { Batch } from '../../server/ground/batch.js';
import { settle } from '../support/fakes.js';

interface Run {
  readonly items: readonly number[];
  readonly answer: () => void;
  readonly fail: (reason: Error) => void;
}

/** A batch whose runs wait for the test; an item is answered with its text. */
function makeBatch(size: number, width: number): { batch: Batch<number, string>; runs: Run[] } {
  const runs: Run[] = [];
  const batch = new Batch<number, string>(
    (items) =>
      new Promise((resolve, reject) => {
        runs.push({ items, answer: () => resolve(items.map(String)), fail: reject });
      }),
    size,
    width,
  );
  return { batch, runs };
}

const items = (runs: Run[]) => runs.map(({ items }) => items);

test('what is asked in one turn is asked together, and each gets its own answer', async () => {
  const { batch, runs } = makeBatch(10, 1);
  const answers = Promise.all([1, 2, 3].map((item) => batch.ask(item)));
  await settle();
  expect(items(runs)).toEqual([[1, 2, 3]]);
  runs[0]?.answer();
  expect(await answers).toEqual(['1', '2', '3']);
});

test('what is asked while runs are under way waits for room, then goes together, the oldest first', async () => {
  const { batch, runs } = makeBatch(2, 2);
  const answers = Promise.all([1, 2, 3, 4, 5, 6, 7].map((item) => batch.ask(item)));
  await settle();
  expect(items(runs)).toEqual([
    [1, 2],
    [3, 4],
  ]);
  runs[1]?.answer();
  await settle();
  expect(items(runs).slice(2)).toEqual([[5, 6]]);
  runs[0]?.answer();
  await settle();
  expect(items(runs).slice(3)).toEqual([[7]]);
  for (const run of runs) run.answer();
  expect(await answers).toEqual(['1', '2', '3', '4', '5', '6', '7']);
});

test('a run that fails fails its own items, and the next ones go on', async () => {
  const { batch, runs } = makeBatch(2, 1);
  const answers = Promise.allSettled([1, 2, 3].map((item) => batch.ask(item)));
  await settle();
  const reason = new Error('away');
  runs[0]?.fail(reason);
  await settle();
  expect(items(runs)).toEqual([[1, 2], [3]]);
  runs[1]?.answer();
  expect(await answers).toEqual([
    { status: 'rejected', reason },
    { status: 'rejected', reason },
    { status: 'fulfilled', value: '3' },
  ]);
});
