import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import {
  advance,
  begin,
  isFinished,
  type Progress,
  type ProgressEvent,
  type ProgressState,
  STATUSES,
  stepsOf,
  viewOf,
} from '../../client/progress/index.js';
import { runs, seed } from './seed.js';

const parameters = { seed: seed('progress'), numRuns: runs(150) };
const START = Date.parse('2026-01-01T00:00:00Z');

const TYPES = [
  'execution-planned',
  'execution-started',
  'execution-paused',
  'execution-resumed',
  'execution-completed',
  'execution-failed',
  'execution-cancelled',
  'stage-changed',
  'error',
  'log',
];
const TASKS = ['task-assigned', 'task-progress', 'task-completed', 'task-failed'];

/** What writers write, in an order that makes sense less often than theirs. */
const wellMeant = fc.record({
  event_type: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom(...TASKS) },
    { weight: 3, arbitrary: fc.constantFrom(...TYPES.filter((type) => !/-(completed|failed|cancelled)$/.test(type))) },
    { weight: 1, arbitrary: fc.constantFrom(...TYPES) },
  ),
  stage_number: fc.option(fc.integer({ min: -1, max: 6 })),
  message: fc.option(fc.string({ maxLength: 20 })),
  context: fc.record(
    {
      step_id: fc.oneof(
        fc.constantFrom('a', 'b', 'c', 7),
        fc.nat(40).map((n) => `step ${n}`),
      ),
      step: fc.constantFrom('read', 'write', 3),
      steps: fc.constantFrom(12, 30, 40),
      stages: fc.array(fc.record({ name: fc.string({ maxLength: 5 }), steps: fc.nat(4) }, { requiredKeys: [] }), {
        maxLength: 5,
      }),
      percent: fc.integer({ min: -5, max: 130 }),
      success: fc.boolean(),
      output: fc.jsonValue({ maxDepth: 2 }),
      error: fc.oneof(fc.string({ maxLength: 20 }), fc.record({ message: fc.string({ maxLength: 20 }) })),
      duration_ms: fc.nat(10_000),
    },
    { requiredKeys: [] },
  ),
});

/** What nobody should write. */
const junk = fc.oneof(
  fc.anything({ maxDepth: 2 }),
  fc.constantFrom(
    'x'.repeat(5000),
    '\uD83D\uDE80'.repeat(600),
    1e300,
    -0,
    Number.NaN,
    'infinity',
    '2026-13-45T99:99:99Z',
  ),
  fc.date({ noInvalidDate: false }),
);
const hostile = fc.oneof(
  junk,
  fc.record(
    {
      event_type: fc.oneof(fc.constantFrom(...TYPES, ...TASKS, '__proto__', 'constructor'), junk),
      stage_number: junk,
      message: junk,
      created_at: junk,
      context: fc.oneof(
        junk,
        fc.record(
          {
            step_id: junk,
            step: junk,
            steps: junk,
            agent: junk,
            stages: fc.oneof(junk, fc.array(fc.record({ name: junk, steps: junk }), { maxLength: 3 })),
            percent: junk,
            success: junk,
            output: junk,
            error: junk,
            started_at: junk,
            ended_at: junk,
            duration_ms: junk,
          },
          { requiredKeys: [] },
        ),
      ),
    },
    { requiredKeys: [] },
  ),
);

const history = (row: fc.Arbitrary<unknown>) => fc.array(row, { maxLength: 60, size: 'max' });
/** Milliseconds between the rows of a history; the clock of a writer may be behind by as much as `lag`. */
const clock = fc.record({ every: fc.nat(9000), lag: fc.nat(20_000) });
const events = fc
  .tuple(
    fc.oneof(
      history(wellMeant),
      history(fc.oneof({ weight: 3, arbitrary: wellMeant }, { weight: 1, arbitrary: hostile })),
    ),
    clock,
  )
  .map(([list, { every, lag }]) =>
    list.map((row, index) => {
      const created_at = new Date(START + index * every + ((index * 7919) % (lag + 1))).toISOString();
      const plain = typeof row === 'object' && row !== null && !Array.isArray(row);
      return { seq: index + 1, row: plain ? { created_at, ...row } : row } as ProgressEvent;
    }),
  );

const fold = (list: readonly ProgressEvent[], from = begin()) => list.reduce(advance, from);
const stored = (state: ProgressState) => JSON.parse(JSON.stringify(state)) as ProgressState;

/** Makes a write to anything in it an error. */
function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inside of Object.values(value)) frozen(inside);
  }
  return value;
}

/** The rules of `Progress` that a view breaks. By name and not by `expect`: there are a million checks in a run. */
function broken(state: ProgressState, view: Progress): string[] {
  const { status, percent, basis, remaining, startedAt, endedAt, updatedAt, error } = view;
  const { total, ...counts } = view.steps;
  const finished = isFinished(status);
  const records = stepsOf(state);
  const of = (name: string) => records.filter((record) => record.status === name).length;
  const sum = counts.done + counts.failed + counts.running + counts.abandoned;
  const rules = {
    'a status': STATUSES.includes(status),
    'a whole percent': Number.isInteger(percent) && percent >= 0 && percent <= 100,
    'percent is 100 when completed, and only then': (percent === 100) === (status === 'completed'),
    'no percent of nothing known': basis !== 'none' || percent === 0 || percent === 100,
    'counts are those of the records': Object.entries(counts).every(([name, count]) => count === of(name)),
    'the total is not less than what there is': total === null || total >= sum,
    'what runs is abandoned at the end, and not before': (finished ? counts.running : counts.abandoned) === 0,
    'a step is there once': new Set(records.map(({ id }) => id)).size === records.length,
    'a step is small': records.every((record) => JSON.stringify(record).length < 10_000),
    'times are times': [startedAt, endedAt, updatedAt].every((time) => time === null || Number.isInteger(time)),
    'the end is after the start': endedAt === null || endedAt >= (startedAt ?? 0),
    'an end at the end only': finished || endedAt === null,
    'an estimate while it runs only': remaining === null || !(finished || status === 'pending'),
    'an estimate within its bounds':
      remaining === null ||
      (remaining.low >= 0 &&
        remaining.expected >= remaining.low &&
        remaining.high >= remaining.expected &&
        Number.isFinite(remaining.high)),
    'an error of what failed, none of what was completed':
      status === 'failed' ? error !== null : status !== 'completed' || error === null,
  };
  return Object.entries(rules).flatMap(([rule, holds]) => (holds ? [] : [rule]));
}

/** The rules of two views in a row that they break. */
function brokenBetween(before: Progress, after: Progress): string[] {
  const ended = isFinished(before.status);
  const rules = {
    'percent never falls': after.percent >= before.percent,
    'no time runs back': (after.updatedAt ?? 0) >= (before.updatedAt ?? 0),
    'it starts once': before.startedAt === null || after.startedAt === before.startedAt,
    'what has ended stays ended':
      !ended || (after.status === before.status && after.endedAt === before.endedAt && after.error === before.error),
  };
  return Object.entries(rules).flatMap(([rule, holds]) => (holds ? [] : [rule]));
}

describe('whatever the events are', () => {
  test('every prefix is a valid progress, percent never falls, and what has ended stays ended', () => {
    const seen = { finished: 0, estimated: 0, stages: 0 };
    fc.assert(
      fc.property(events, fc.nat(900_000), (list, later) => {
        let state = frozen(begin());
        let before = viewOf(state, START);
        const faults = broken(state, before);
        for (const event of list) {
          state = frozen(advance(state, frozen(event)));
          const view = viewOf(state, START + later);
          faults.push(...broken(state, view), ...brokenBetween(before, view));
          if (view.seq !== event.seq) faults.push('it has read what it was given');
          if (view.remaining !== null) seen.estimated += 1;
          if (view.basis === 'stages') seen.stages += 1;
          before = view;
        }
        if (isFinished(before.status)) seen.finished += 1;
        expect(faults).toEqual([]);
      }),
      parameters,
    );
    // The lists reach what is checked.
    expect(Object.entries(seen).filter(([, count]) => count < 20)).toEqual([]);
  });

  test('replay equals live: in pieces, with what came before once more, and kept as JSON in between', () => {
    const cuts = fc.array(fc.record({ length: fc.nat(12), again: fc.nat(12), stored: fc.boolean() }), { minLength: 1 });
    fc.assert(
      fc.property(events, cuts, (list, pieces) => {
        const atOnce = fold(list);
        let live = begin();
        let at = 0;
        for (let turn = 0; at < list.length; turn += 1) {
          const piece = pieces[turn % pieces.length] ?? { length: 0, again: 0, stored: false };
          const to = at + 1 + piece.length;
          live = fold(list.slice(Math.max(0, at - piece.again), to), live);
          if (piece.stored) live = stored(live);
          at = to;
        }
        expect(live).toEqual(atOnce);
        expect(stored(atOnce)).toEqual(atOnce);
        expect(fold(list, atOnce)).toBe(atOnce); // all of it again: the same state, not an equal one
        expect(viewOf(live, START + 700_000)).toEqual(viewOf(atOnce, START + 700_000));
      }),
      parameters,
    );
  });
});

test('a long history costs as much for each event as a short one, in time and in memory', () => {
  const kinds = ['task-assigned', 'log', 'task-progress', 'log', 'metrics-update', 'log', 'task-completed', 'log'];
  const list = Array.from({ length: 100_000 }, (_, index) => ({
    seq: index + 1,
    row: {
      event_type: kinds[index % 8],
      stage_number: 1 + Math.floor(index / 20_000),
      created_at: new Date(START + index * 100).toISOString(),
      context: { step_id: `step ${Math.floor(index / 8)}`, percent: 40, steps: 12_500, output: { tokens: index } },
    },
  }));
  const began = performance.now();
  const state = fold(list);
  const took = performance.now() - began;
  console.log(`progress: 100,000 events in ${took.toFixed(0)} ms`);
  expect(viewOf(state, 0)).toMatchObject({ percent: 99, steps: { done: 12_500, running: 0, total: 12_500 } });
  expect(stepsOf(state)).toHaveLength(1000);
  expect(JSON.stringify(state).length).toBeLessThan(400_000);
  expect(took).toBeLessThan(10_000); // 0.4 s here; a state that grew, or a search through all events, takes minutes
});
