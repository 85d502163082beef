/** Decides which channels the next request is for, and when it is due, by what their events say of the executions. */
import { notify } from '../ground/notify.js';
import type { ExecutionState } from '../progress/activity.js';
import { type Frame, parsePosition, type Row } from '../protocol/index.js';

/**
 * The state of the execution that a channel is about, after an event; undefined if the event does not say. `row` is
 * undefined if the channel has no event at all.
 */
export type StateOf = (row: Row | undefined, channel: string) => ExecutionState | undefined;

/** The times between two requests, in milliseconds. */
export interface Intervals {
  /** For channels that have no state. */
  readonly interval: number;
  /** While an execution is running. */
  readonly running: number;
  /** While all executions are pending. */
  readonly pending: number;
}

export class Pacing {
  readonly #intervals: Intervals;
  readonly #stateOf: StateOf;
  readonly #states = new Map<string, ExecutionState>();
  /** Channels that may have events which were not read yet: they are requested whatever their state. */
  readonly #behind = new Set<string>();

  constructor(intervals: Intervals, stateOf: StateOf) {
    this.#intervals = intervals;
    this.#stateOf = stateOf;
  }

  /** A channel may have events that were not read yet. */
  get behind(): boolean {
    return this.#behind.size > 0;
  }

  subscribed(channel: string): void {
    this.#behind.add(channel);
  }

  /** Whether the next request is to include a channel. */
  includes(channel: string): boolean {
    return this.#behind.has(channel) || this.#states.get(channel) !== 'finished';
  }

  /** Notes what a frame says of the executions. */
  observe(frame: Frame): void {
    if (frame.type === 'subscribed' && frame.head === 0) this.#observeRow(frame.channel, undefined);
    if (frame.type === 'events') for (const row of frame.events) this.#observeRow(frame.channel, row);
  }

  /** After a response. `positions`: of its channels; `channels`: all that are subscribed to now. */
  settle(frames: readonly Frame[], positions: Readonly<Record<string, unknown>>, channels: readonly string[]): void {
    for (const frame of frames) {
      if (frame.type !== 'subscribed') continue;
      const position = parsePosition(String(positions[frame.channel]));
      if (position !== null && position.seq >= frame.head) this.#behind.delete(frame.channel);
      else this.#behind.add(frame.channel);
    }
    const kept = new Set(channels);
    for (const known of [this.#states, this.#behind])
      for (const channel of known.keys()) if (!kept.has(channel)) known.delete(channel);
  }

  /** Includes finished executions again: more events may have been written. */
  recheck(): void {
    for (const [channel, state] of this.#states) if (state === 'finished') this.#states.delete(channel);
  }

  /** The shortest interval of the channels to request, in milliseconds; null if there are none. */
  interval(channels: readonly string[]): number | null {
    const { interval, running, pending } = this.#intervals;
    const of = { pending, running, finished: interval }; // a finished one is requested only while it is behind
    const wanted = channels
      .filter((channel) => this.includes(channel))
      .map((channel) => of[this.#states.get(channel) ?? 'finished']);
    return wanted.length === 0 ? null : Math.min(...wanted);
  }

  #observeRow(channel: string, row: Row | undefined): void {
    notify(() => {
      const state = this.#stateOf(row, channel);
      if (state !== undefined) this.#states.set(channel, state);
    });
  }
}
