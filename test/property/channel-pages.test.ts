import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { PageCache } from '../../server/hub/cache.js';
import { ChannelPages } from '../../server/hub/channel-pages.js';
import { RowTexts } from '../../server/ports/row-texts.js';
import { runs, seed } from './seed.js';

const HIGHEST = 40;

interface Sent {
  readonly from: number;
  readonly events: readonly { readonly seq: number }[];
}

const rowsOf = (from: number, to: number) =>
  RowTexts.of(
    from,
    Array.from({ length: to - from + 1 }, (_, index) => `{"seq":${from + index}}`),
  ) as RowTexts;

/** The pages of a channel after runs of rows were kept, in any order: a run may begin before a page and end after it. */
test('I1: whatever runs of rows are kept, a frame has the next events, and what is not in memory is read', () => {
  const run = fc.tuple(fc.integer({ min: 1, max: HIGHEST }), fc.integer({ min: 0, max: 15 }));
  fc.assert(
    fc.property(fc.array(run, { maxLength: 12 }), fc.integer({ min: 1, max: 9 }), fc.boolean(), (all, rows, small) => {
      const pages = new ChannelPages('message:lobby', { rows, bytes: 10_000 }, new PageCache(small ? 300 : 1_000_000));
      const kept = new Set<number>();
      for (const [from, more] of all) {
        const run = rowsOf(from, from + more);
        pages.keep(run);
        for (const { seq } of run) kept.add(seq);
        for (let after = 0; after <= HIGHEST + 16; after += 1) {
          const frame = pages.frame(after);
          // A reader whose next event is in memory is sent it; for others the table is read up to the next page.
          const next = pages.nextAfter(after);
          expect(frame !== null).toBe(next <= after + 1);
          if (!small) expect(frame !== null).toBe(kept.has(after + 1));
          if (frame === null) continue;
          const sent = JSON.parse(frame.text.toString()) as Sent;
          expect([sent.from, sent.events]).toEqual([
            after + 1,
            sent.events.map((_, index) => ({ seq: after + 1 + index })),
          ]);
          expect(sent.events.length).toBeGreaterThan(0);
        }
      }
    }),
    { seed: seed('channel-pages'), numRuns: runs(150) },
  );
});
