import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { Sequencer } from '../../client/subscription/sequencer.js';
import { runs, seed } from './seed.js';

const parameters = { seed: seed('sequencer'), numRuns: runs(200) };

/** A range whose rows say what number they have, or a reset. */
const step = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      kind: fc.constant('range' as const),
      /** Where it begins, seen from the next seq: below 0 it overlaps or repeats, above it leaves a gap. */
      offset: fc.integer({ min: -8, max: 3 }),
      length: fc.nat(8),
      /** How many of the rows to deliver the application takes before something stops it. */
      taken: fc.oneof(fc.constant(Number.POSITIVE_INFINITY), fc.nat(8)),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('reset' as const),
      epoch: fc.constantFrom('a', 'b'),
      seq: fc.nat(40),
    }),
  },
);

test('I1 I2 I3: whatever ranges come, the next seq is delivered as soon as it is there, and nothing else', () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const sequencer = new Sequencer();
      expect(sequencer.judge(1, [{}]).kind).toBe('gap');
      expect(() => sequencer.advance()).toThrow('without a position');
      let at = { epoch: 'a', seq: 3 };
      sequencer.moveTo(at);

      for (const step of steps) {
        if (step.kind === 'reset') {
          at = { epoch: step.epoch, seq: step.seq };
          sequencer.moveTo(at);
          continue;
        }
        const next = at.seq + 1;
        const from = next + step.offset;
        const rows = Array.from({ length: step.length }, (_, index) => ({ n: from + index }));
        const verdict = sequencer.judge(from, rows);
        expect(sequencer.position).toEqual(at); // to judge moves nothing

        if (from > next) {
          expect(verdict).toEqual({ kind: 'gap' });
        } else if (from + step.length <= next) {
          expect(verdict).toEqual({ kind: 'duplicate' });
        } else {
          expect(verdict).toEqual({ kind: 'deliver', rows: rows.filter(({ n }) => n >= next) });
          for (const { n } of rows.filter(({ n }) => n >= next).slice(0, step.taken)) {
            at = { epoch: at.epoch, seq: at.seq + 1 };
            expect(at.seq).toBe(n);
            expect(sequencer.advance()).toEqual(at);
          }
        }
        expect(sequencer.position).toEqual(at);
      }
    }),
    parameters,
  );
});
