import { advance, begin, type ProgressState, viewOf } from '../../client/progress/index.js';

export const START = Date.parse('2026-01-01T00:00:00Z');
export const MINUTE = 60_000;

/** Writes the log of an execution. Times are milliseconds after the first one. */
export class Log {
  state: ProgressState = begin();
  readonly percents: number[] = [];
  #at = START;

  after(milliseconds: number): this {
    this.#at += milliseconds;
    return this;
  }

  write(event_type: string, context: object = {}, columns: object = {}): this {
    const row = { event_type, message: null, context, created_at: new Date(this.#at).toISOString(), ...columns };
    this.state = advance(this.state, { seq: this.state.seq + 1, row });
    this.percents.push(this.view().percent);
    return this;
  }

  /** The trigger's row for a change of the column `stage_number`. */
  stage(to: number | null): this {
    return this.write('stage-changed', { from: null, to }, { stage_number: to, message: `stage ${to ?? 'cleared'}` });
  }

  view(later = 0) {
    return viewOf(this.state, this.#at + later);
  }
}

export const started = () => new Log().write('execution-started', { from: null, to: 'running' });
