import type { Position, Row } from '../protocol/index.js';

/** What a range of events means to a reader that stands at a seq. */
export type Verdict =
  | { readonly kind: 'deliver'; readonly rows: readonly Row[] }
  | { readonly kind: 'duplicate' }
  | { readonly kind: 'gap' };

/**
 * Keeps the position of one subscription, so that the application sees each seq once and in order, whatever the
 * connections below did (I1, I2, I3).
 */
export class Sequencer {
  #position: Position | null = null;

  /** Null until the first `subscribed` reply. */
  get position(): Position | null {
    return this.#position;
  }

  /** Stands at a position: the first one of a subscription, or where a reset said to go on. */
  moveTo(position: Position): void {
    this.#position = position;
  }

  /** Judges the rows numbered `from`, `from + 1`, …; those to deliver begin right after the position. */
  judge(from: number, rows: readonly Row[]): Verdict {
    if (this.#position === null) return { kind: 'gap' };
    const expected = this.#position.seq + 1;
    if (from > expected) return { kind: 'gap' };
    const fresh = rows.slice(expected - from);
    return fresh.length === 0 ? { kind: 'duplicate' } : { kind: 'deliver', rows: fresh };
  }

  /** Moves past the next event, which is about to be delivered, and gives its position. */
  advance(): Position {
    if (this.#position === null) throw new Error('advanced without a position');
    this.#position = { epoch: this.#position.epoch, seq: this.#position.seq + 1 };
    return this.#position;
  }
}
