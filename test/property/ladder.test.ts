import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Ladder, STABLE, type VisitResult } from '../../client/session/ladder.js';
import type { TransportName } from '../../client/transport/rung.js';
import { runs, seed } from './seed.js';

const parameters = { seed: seed('ladder'), numRuns: runs(400) };
const NAMES: readonly TransportName[] = ['websocket', 'sse', 'poll'];

const refused: VisitResult = { lived: null, transportAtFault: true };
const died: VisitResult = { lived: 1_000, transportAtFault: true };
const spoken: VisitResult = { lived: null, transportAtFault: false };

/** The rungs of the visits, each followed by `.` where a delay came before the next. */
function visits(ladder: Ladder, outcomes: readonly VisitResult[]): string {
  return outcomes
    .map((outcome) => {
      const { rung } = ladder;
      if (outcome.lived !== null) ladder.stands();
      return ladder.lost(outcome) ? rung : `${rung}.`;
    })
    .join(' ');
}

describe('a rung', () => {
  test('that never opened is left at once, and only after the last one comes a delay', () => {
    const ladder = new Ladder(NAMES);
    expect(visits(ladder, [refused, refused, refused, refused, refused])).toBe('websocket sse poll. websocket sse');
  });

  test('that stood is left after three failures in a row, whether it opened or not', () => {
    const ladder = new Ladder(NAMES);
    expect(visits(ladder, [died, died, died, refused])).toBe('websocket. websocket. websocket sse');
    const other = new Ladder(NAMES);
    expect(visits(other, [{ lived: 60_000, transportAtFault: true }, refused, refused, refused, refused])).toBe(
      'websocket. websocket. websocket. websocket sse',
    );
  });

  test('that stood for five seconds has no failure behind it', () => {
    const long = { lived: STABLE, transportAtFault: true };
    expect(visits(new Ladder(NAMES), [died, died, long, died, died, long, died, died, died])).toBe(
      'websocket. websocket. websocket. websocket. websocket. websocket. websocket. websocket. websocket',
    );
  });

  test('is not left because the gateway speaks', () => {
    const ladder = new Ladder(NAMES);
    expect(visits(ladder, [spoken, spoken, spoken, spoken, refused, spoken, spoken])).toBe(
      'websocket. websocket. websocket. websocket. websocket sse. sse.',
    );
  });
});

test('the first round begins at the remembered rung, and then tries the others from the best on', () => {
  expect(visits(new Ladder(NAMES, 'poll'), [refused, refused, refused, refused])).toBe('poll websocket sse. websocket');
  expect(new Ladder(['websocket', 'poll'], 'sse').rung).toBe('websocket');
});

test('a handshake may take 4 seconds, then 8, then 10; 10 at once where nothing else is left, or the rung has stood', () => {
  const ladder = new Ladder(['websocket', 'sse']);
  const timeouts: number[] = [];
  for (let visit = 0; visit < 8; visit += 1) {
    timeouts.push(ladder.handshakeTimeout);
    ladder.lost(refused);
  }
  expect(timeouts).toEqual([4_000, 10_000, 8_000, 10_000, 10_000, 10_000, 10_000, 10_000]);
  expect(new Ladder(['websocket']).handshakeTimeout).toBe(10_000);
  const other = new Ladder(['websocket', 'sse']);
  other.stands();
  other.lost({ lived: STABLE, transportAtFault: true });
  expect([other.rung, other.handshakeTimeout]).toEqual(['websocket', 10_000]);
  for (let strike = 0; strike < 3; strike += 1) other.lost(refused);
  expect([other.rung, other.handshakeTimeout]).toEqual(['sse', 10_000]);
  other.lost(refused);
  expect([other.rung, other.handshakeTimeout]).toEqual(['websocket', 8_000]);
});

test('with a rung that was climbed to a new round begins: what failed before it is tried again', () => {
  const ladder = new Ladder(['websocket', 'sse', 'poll']);
  ladder.lost(refused);
  ladder.lost(refused);
  ladder.stands(); // poll
  ladder.stands('websocket');
  for (let strike = 0; strike < 3; strike += 1) ladder.lost({ lived: 1, transportAtFault: true });
  expect(ladder.rung).toBe('sse');
});

const outcome: fc.Arbitrary<VisitResult> = fc.record({
  lived: fc.oneof(fc.constant(null), fc.nat(2 * STABLE)),
  transportAtFault: fc.boolean(),
});
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant('lost' as const), outcome }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('climbs' as const), which: fc.nat(2) }) },
);

test('whatever happens: a rung is left only for cause, none is tried twice without a delay, and none is given up for ever', () => {
  const names = fc.subarray([...NAMES], { minLength: 1 });
  fc.assert(
    fc.property(names, fc.constantFrom(...NAMES), fc.array(step, { maxLength: 80 }), (names, first, steps) => {
      const ladder = new Ladder(names, first);
      let sinceDelay: TransportName[] = [ladder.rung];
      let stood = false;
      let failures = 0;
      for (const step of steps) {
        const before = ladder.rung;
        expect(names).toContain(before);
        expect(ladder.better).toEqual(names.slice(0, names.indexOf(before)));
        expect(ladder.handshakeTimeout).toBeGreaterThanOrEqual(4_000);
        expect(ladder.handshakeTimeout).toBeLessThanOrEqual(10_000);
        if (step.kind === 'climbs') {
          const better = ladder.better[step.which];
          if (better === undefined) continue;
          ladder.stands(better);
          expect(ladder.rung).toBe(better);
          [stood, failures] = [true, 0];
          sinceDelay = [better];
          continue;
        }
        const { lived, transportAtFault } = step.outcome;
        if (lived !== null) {
          ladder.stands();
          stood = true;
        }
        const atOnce = ladder.lost(step.outcome);
        const long = lived !== null && lived >= STABLE;
        failures = long ? 0 : failures + (transportAtFault ? 1 : 0);
        const cause = transportAtFault && !long && (!stood || failures >= 3);
        if (!cause) expect([ladder.rung, atOnce]).toEqual([before, false]);
        if (cause && names.length > 1 && atOnce) expect(ladder.rung).not.toBe(before);
        if (cause) [stood, failures] = [false, 0];
        if (!atOnce) sinceDelay = [];
        expect(sinceDelay).not.toContain(ladder.rung);
        sinceDelay.push(ladder.rung);
      }
      // From anywhere, so many refusals visit every rung.
      const visited = new Set<TransportName>();
      for (let visit = 0; visit < 2 * names.length + 3; visit += 1) {
        visited.add(ladder.rung);
        ladder.lost(refused);
      }
      expect([...visited].sort()).toEqual([...names].sort());
    }),
    parameters,
  );
});
