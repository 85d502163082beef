import { call } from '../ground/notify.js';
import { type Frame, parsePosition, type Row } from '../protocol/index.js';

export type ExecutionState = 'pending' | 'running' | 'finished';

/**
 * What an event says about the state of the execution that its channel tells of; undefined: nothing. `row` is undefined
 * where the channel has no event at all.
 */
export type StateOf = (row: Row | undefined, channel: string) => ExecutionState | undefined;

/** How long to wait between two requests, in milliseconds. */
export interface Intervals {
  /** While a channel is followed that says nothing of a state. */
  readonly interval: number;
  /** While an execution runs. */
  readonly running: number;
  /** While all that are followed are pending. */
  readonly pending: number;
}

const STATES: Readonly<Record<string, ExecutionState>> = {
  'execution-started': 'running',
  'execution-resumed': 'running',
  'execution-paused': 'pending',
  'execution-completed': 'finished',
  'execution-failed': 'finished',
  'execution-cancelled': 'finished',
};

/**
 * For the stream `execution`. An execution that is pending has no event yet. A column `status` of another table is not
 * believed: its channel may tell of many things, and does not end with the first that does.
 */
export const stateOfExecution: StateOf = (row, channel) => {
  if (!channel.startsWith('execution:')) return undefined;
  return row === undefined ? 'pending' : STATES[String(row.event_type)];
};

/** What the channels have told of their executions: which are to be asked for, and how often. */
export class Channels {
  readonly #intervals: Intervals;
  readonly #stateOf: StateOf;
  readonly #states = new Map<string, ExecutionState>();
  /** Not known to be read up to their head: to be asked for, whatever their state. */
  readonly #owed = new Set<string>();

  constructor(intervals: Intervals, stateOf: StateOf) {
    this.#intervals = intervals;
    this.#stateOf = stateOf;
  }

  /** The next answer owes something of a channel. */
  get owed(): boolean {
    return this.#owed.size > 0;
  }

  /** A channel is subscribed to. */
  owe(channel: string): void {
    this.#owed.add(channel);
  }

  /** Whether the next request is to ask for a channel. */
  asks(channel: string): boolean {
    return this.#owed.has(channel) || this.#states.get(channel) !== 'finished';
  }

  /** A frame that reaches the subscription. */
  see(frame: Frame): void {
    if (frame.type === 'subscribed' && frame.head === 0) this.#ask(frame.channel, undefined);
    if (frame.type === 'events') for (const row of frame.events) this.#ask(frame.channel, row);
  }

  /** An answer is over. `positions`: where it left each channel; `standing`: those that are still followed. */
  settle(frames: readonly Frame[], positions: Readonly<Record<string, unknown>>, standing: readonly string[]): void {
    for (const frame of frames) {
      if (frame.type !== 'subscribed') continue;
      const position = parsePosition(String(positions[frame.channel]));
      if (position !== null && position.seq >= frame.head) this.#owed.delete(frame.channel);
      else this.#owed.add(frame.channel);
    }
    const kept = new Set(standing);
    for (const known of [this.#states, this.#owed])
      for (const channel of known.keys()) if (!kept.has(channel)) known.delete(channel);
  }

  /** What was finished may not be so any more. */
  doubt(): void {
    for (const [channel, state] of this.#states) if (state === 'finished') this.#states.delete(channel);
  }

  /** The shortest interval that one of the channels wants; null where none is to be asked for. */
  interval(channels: readonly string[]): number | null {
    const { interval, running, pending } = this.#intervals;
    const of = { pending, running, finished: interval }; // what is finished and asked for is not read up to its end
    const wanted = channels
      .filter((channel) => this.asks(channel))
      .map((channel) => of[this.#states.get(channel) ?? 'finished']);
    return wanted.length === 0 ? null : Math.min(...wanted);
  }

  #ask(channel: string, row: Row | undefined): void {
    call(() => {
      const state = this.#stateOf(row, channel);
      if (state !== undefined) this.#states.set(channel, state);
    });
  }
}
