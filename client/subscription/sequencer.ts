import type { Position, Row } from '../protocol/index.js';

/** What a range of events means to a reader at a position. */
export type Verdict =
  | { readonly kind: 'deliver'; readonly rows: readonly Row[] }
  | { readonly kind: 'duplicate' }
  | { readonly kind: 'gap' };

/**
 * Keeps a position and judges ranges of events by it, so that each seq is delivered once and in order, whatever the
 * connections did (I1, I2, I3).
 */
export class Sequencer {
  #position: Position | null = null;

  /** Null until the first `moveTo`. */
  get position(): Position | null {
    return this.#position;
  }

  /** Sets the position: at the beginning, and after a reset. */
  moveTo(position: Position): void {
    this.#position = position;
  }

  /** Judges the rows numbered `from`, `from + 1` and so on. Those to deliver follow the position without a gap. */
  judge(from: number, rows: readonly Row[]): Verdict {
    if (this.#position === null) return { kind: 'gap' };
    const expected = this.#position.seq + 1;
    if (from > expected) return { kind: 'gap' };
    const fresh = rows.slice(expected - from);
    return fresh.length === 0 ? { kind: 'duplicate' } : { kind: 'deliver', rows: fresh };
  }

  /** Moves past the next event, which is about to be delivered, and returns its position. */
  advance(): Position {
    if (this.#position === null) throw new Error('advanced without a position');
    this.#position = { epoch: this.#position.epoch, seq: this.#position.seq + 1 };
    return this.#position;
  }
}
