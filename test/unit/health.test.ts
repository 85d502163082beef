import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { advance, begin, healthOf, type ProgressState } from '../../client/progress/index.js';
import { seed } from '../property/seed.js';

const START = Date.parse('2026-01-01T00:00:00Z');
const SECOND = 1000;

/** An execution that has run for `after` milliseconds, told by its events. */
class Run {
  state: ProgressState = begin();
  now = START;

  constructor() {
    this.write('execution-started');
  }

  write(event_type: string, context: object = {}): this {
    const row = { event_type, context, created_at: new Date(this.now).toISOString() };
    this.state = advance(this.state, { seq: this.state.seq + 1, row });
    return this;
  }

  wait(milliseconds: number): this {
    this.now += milliseconds;
    return this;
  }

  step(step_id: string, end: 'completed' | 'failed', takes = SECOND): this {
    return this.write('task-assigned', { step_id }).wait(takes).write(`task-${end}`, { step_id });
  }

  get health() {
    return healthOf(this.state, this.now);
  }
}

describe('the score', () => {
  test('E24: an execution that has just begun is well: nothing has ended that could have been done', () => {
    expect(healthOf(begin(), START)).toEqual({ score: 100, word: 'excellent', reasons: [], predictedEnd: null });
    const run = new Run().write('execution-planned', { stages: [{ name: 'all', steps: 25 }] });
    expect(run.health).toMatchObject({ score: 100, word: 'excellent', reasons: [] });
    expect(run.step('a', 'completed').health.score).toBe(100);
  });

  test('completion under 80 % costs up to 50 points, from the third step on that has ended', () => {
    const run = new Run().step('a', 'completed').step('b', 'failed');
    expect(run.health.reasons.map(({ code }) => code)).toEqual(['errors']); // two steps say nothing of completion
    run.step('c', 'failed').step('d', 'completed');
    expect(run.health.reasons).toEqual([
      { code: 'completion', value: 0.5, threshold: 0.8, points: 18.8 },
      { code: 'errors', value: 0.5, threshold: 0.2, points: 9.4 },
    ]);
    expect(run.health).toMatchObject({ score: 72, word: 'good' });
  });

  test('failed attempts count as attempts: a step that fails twice and then works is done', () => {
    const run = new Run().step('a', 'failed').step('a', 'failed').step('a', 'completed');
    run.step('b', 'completed').step('c', 'completed');
    expect(run.state.steps.attempts).toEqual({ ended: 5, failed: 2 });
    expect(run.health.reasons).toEqual([{ code: 'errors', value: 0.4, threshold: 0.2, points: 6.3 }]);
    run.write('task-completed', { step_id: 'c' }); // told twice
    expect(run.state.steps.attempts).toEqual({ ended: 5, failed: 2 });
  });

  test('steps slower than 30 s on average cost up to 15 points', () => {
    const slow = (takes: number) => new Run().step('a', 'completed', takes).step('b', 'completed', takes).health;
    expect(slow(30 * SECOND).reasons).toEqual([]);
    expect(slow(75 * SECOND).reasons).toEqual([{ code: 'duration', value: 75_000, threshold: 30_000, points: 7.5 }]);
    expect(slow(1000 * SECOND)).toMatchObject({ score: 85, word: 'excellent' });
  });

  test('a step that runs on for longer than twice the average, and than 30 s, is due and not done', () => {
    const run = new Run().step('a', 'completed').step('b', 'completed').write('task-assigned', { step_id: 'c' });
    expect(run.wait(30 * SECOND).health.reasons).toEqual([]);
    expect(run.wait(1).health.reasons).toEqual([expect.objectContaining({ code: 'completion', value: 2 / 3 })]);
    run.write('execution-paused');
    expect(run.health.reasons).toEqual([]); // nothing is due while it is paused
    run.write('execution-resumed').write('execution-cancelled');
    expect(run.wait(3600 * SECOND).health.reasons).toEqual([expect.objectContaining({ code: 'completion' })]);
  });

  test('all at their worst leave 10 points, and the word for that is critical', () => {
    const run = new Run();
    for (const id of ['a', 'b', 'c']) run.step(id, 'failed');
    run.step('d', 'completed', 10_000 * SECOND);
    for (let index = 0; index < 400; index += 1) run.step(`e${index}`, 'failed');
    expect(run.health).toMatchObject({ score: 10, word: 'critical' });
  });
});

test('the predicted end lies where the remaining time says', () => {
  const run = new Run().write('execution-planned', { stages: [{ name: 'all', steps: 8 }] });
  for (const id of ['a', 'b', 'c', 'd']) run.step(id, 'completed', 10 * SECOND);
  const { predictedEnd } = run.health;
  expect(predictedEnd?.expected).toBe(run.now + 40 * SECOND);
  expect(predictedEnd?.low).toBeLessThanOrEqual(run.now + 40 * SECOND);
  run.write('execution-completed');
  expect(run.health.predictedEnd).toBeNull();
});

test('E24: whatever is written, the score is whole, from 0 to 100, and its reasons add up to it', () => {
  const event = fc.record({
    type: fc.constantFrom('task-assigned', 'task-completed', 'task-failed', 'execution-paused', 'execution-resumed'),
    step_id: fc.nat(12),
    wait: fc.nat(100_000),
  });
  fc.assert(
    fc.property(fc.array(event, { maxLength: 60 }), (events) => {
      const run = new Run();
      for (const { type, step_id, wait } of events) {
        run.wait(wait).write(type, { step_id });
        const { score, reasons } = run.health;
        const lost = reasons.reduce((sum, { points }) => sum + points, 0);
        expect(score).toBe(Math.max(0, Math.round(100 - lost)));
        expect(score).toBeGreaterThanOrEqual(0);
        expect(reasons.every(({ points }) => points > 0)).toBe(true);
        const { attempts, counts } = run.state.steps;
        expect(attempts.failed).toBeLessThanOrEqual(attempts.ended);
        expect(attempts.ended).toBeGreaterThanOrEqual(counts.done + counts.failed);
      }
    }),
    { seed: seed('health'), numRuns: 200 },
  );
});
