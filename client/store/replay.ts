/**
 * An execution as it was after any of its events. What is shown is a pure fold of the events up to there: from the nearest
 * checkpoint before it, over the events that follow.
 */
import { errorOf, type RowcastError } from '../ground/error.js';
import { type Position, parsePosition } from '../protocol/index.js';
import type { Api } from './api.js';
import { Checkpoints } from './checkpoints.js';
import type { Following, Host } from './following.js';
import { Listeners } from './listeners.js';
import type { Live, Store } from './live.js';
import { type Pages, pageOf, pagesOf } from './pages.js';
import type { Rows } from './rows.js';
import { BEGIN, type Tracking, type TrackingState, track, trackingOf } from './tracking.js';

/** Seconds of the execution in a second. */
export type Speed = 1 | 2 | 4 | 8 | 16;

export interface Replay {
  /** The event after which it is shown, and the newest one. */
  readonly seq: number;
  readonly head: number;
  /** The time of that event, in milliseconds since 1970; null before the first one. */
  readonly at: number | null;
  /** It follows the head. */
  readonly edge: boolean;
  readonly playing: boolean;
  readonly speed: Speed;
  /** Events are being read, or could not be. Until they are there the last place is shown. */
  readonly loading: boolean;
  readonly error: RowcastError | null;
  /** Undefined before the first one is shown. */
  readonly tracking: Tracking | undefined;
}

/** How often what is played moves on, in milliseconds. */
const STEP = 100;

export interface ReplayParts {
  readonly host: Host;
  readonly execution: Store<Live<Tracking>>;
  readonly api: Api;
  /** For the head, and the position of it. */
  readonly rows: Following<Rows>;
}

/** Where an execution is shown, and how to move it. */
export interface ReplayStore extends Store<Replay> {
  seek(seq: number): void;
  step(by: 1 | -1): void;
  /** At the head it begins at the start. */
  play(speed?: Speed): void;
  pause(): void;
  /** Follows the head again. */
  live(): void;
}

export class Player implements ReplayStore {
  readonly #parts: ReplayParts;
  readonly #pages: Pages;
  readonly #checkpoints = new Checkpoints<TrackingState>(BEGIN);
  readonly #listeners = new Listeners(
    () => this.#attach(),
    () => this.#detach(),
  );
  readonly subscribe = this.#listeners.subscribe;
  #epoch = '';
  /** What is shown if it does not follow the head. */
  #place: { readonly seq: number; readonly state: TrackingState } | null = null;
  /** Where it is to be; null: at the head. */
  #target: number | null = null;
  /** While it plays: the time of the execution that has been reached, where known. */
  #time: number | null = null;
  #playing = false;
  #speed: Speed = 1;
  #loading = false;
  #error: RowcastError | null = null;
  #shown: Tracking | undefined;
  #replay: Replay | null = null;
  #unfollow: (() => void)[] = [];
  #cancelStep: () => void = () => {};

  constructor(parts: ReplayParts) {
    this.#parts = parts;
    this.#pages = pagesOf(parts.host, parts.api, parts.rows);
  }

  readonly get = (): Replay => {
    this.#replay ??= this.#compute();
    return this.#replay;
  };

  readonly seek = (seq: number): void => {
    this.#time = null;
    this.#target = Math.max(0, Math.min(Math.round(seq), this.#head));
    void this.#go();
  };

  readonly step = (by: 1 | -1): void => {
    this.pause();
    this.seek((this.#target ?? this.#head) + by);
  };

  readonly play = (speed: Speed = this.#speed): void => {
    this.#speed = speed;
    if (this.#target === null || this.#target >= this.#head) this.seek(0);
    this.#playing = true;
    this.#cancelStep();
    this.#advance();
    this.#tell();
  };

  readonly pause = (): void => {
    this.#playing = false;
    this.#cancelStep();
    this.#tell();
  };

  readonly live = (): void => {
    this.#target = null;
    this.#place = null;
    this.#error = null;
    this.pause();
  };

  get #position(): Position | null {
    return parsePosition(this.#parts.rows.get().data?.position ?? '');
  }

  get #head(): number {
    return this.#parts.rows.get().data?.head ?? 0;
  }

  #attach(): void {
    const { execution, rows } = this.#parts;
    this.#unfollow = [execution.subscribe(this.#tell), rows.subscribe(this.#onRows)];
    this.#replay = null;
    if (this.#playing) this.#advance();
  }

  #detach(): void {
    this.#cancelStep();
    for (const unfollow of this.#unfollow.splice(0)) unfollow();
  }

  readonly #onRows = (): void => {
    const { epoch = this.#epoch } = this.#position ?? {};
    if (epoch !== this.#epoch) {
      // The numbers mean other events now.
      this.#checkpoints.clear();
      if (this.#epoch !== '') this.live();
      this.#epoch = epoch;
    }
    if (this.#target !== null && this.#place?.seq !== this.#target) void this.#go();
    this.#tell();
  };

  readonly #tell = (): void => {
    this.#replay = null;
    this.#listeners.tell();
  };

  #compute(): Replay {
    const { data } = this.#parts.execution.get();
    const edge = this.#target === null;
    if (edge) this.#shown = data;
    else if (this.#place !== null) {
      const { state } = this.#place;
      this.#shown = trackingOf(state, state.progress.at ?? 0, this.#shown);
    }
    const { seq: shown = 0, updatedAt: at = null } = this.#shown?.progress ?? {};
    const seq = edge ? shown : (this.#place?.seq ?? shown);
    return {
      seq,
      head: Math.max(this.#head, data?.progress.seq ?? 0),
      at,
      edge,
      playing: this.#playing,
      speed: this.#speed,
      loading: this.#loading,
      error: this.#error,
      tracking: this.#shown,
    };
  }

  /** Goes to the target, which may change meanwhile. */
  async #go(): Promise<void> {
    if (this.#loading) return;
    this.#loading = true;
    try {
      while (this.#target !== null && this.#place?.seq !== this.#target) {
        const target: number = this.#target;
        const state = await this.#stateAt(target);
        if (state === null || this.#target === null) break;
        this.#place = { seq: target, state };
      }
      this.#error = null;
    } catch (reason) {
      this.#error = errorOf(reason);
    }
    this.#loading = false;
    this.#tell();
  }

  /** Null while the position of the head is not known. */
  async #stateAt(target: number): Promise<TrackingState | null> {
    const pages = this.#pages;
    const position = this.#position;
    if (position === null) return null;
    const head = { ...position, seq: this.#head };
    let { seq, state } = this.#nearest(target);
    while (seq < target) {
      const page = pageOf(seq + 1);
      if (!pages.has(page, head.seq)) {
        this.#tell();
        await pages.load(page, head);
      }
      while (seq < target && pageOf(seq + 1) === page) {
        seq += 1;
        const event = pages.at(seq);
        if (event !== undefined) state = track(state, event);
        this.#checkpoints.pass(seq, state);
      }
    }
    return state;
  }

  #nearest(target: number): { seq: number; state: TrackingState } {
    const checkpoint = this.#checkpoints.before(target);
    const place = this.#place;
    return place !== null && place.seq <= target && place.seq > checkpoint.seq ? place : checkpoint;
  }

  /** Moves on to the last event that was written by now, at this speed. */
  readonly #advance = (): void => {
    if (!this.#playing || !this.#listeners.any) return;
    this.#cancelStep = this.#parts.host.clock.after(STEP, this.#advance);
    const place = this.#place;
    if (place === null || this.#loading || place.seq !== this.#target) return;
    if (place.seq >= this.#head) return this.live();
    const { at: begun } = place.state.progress;
    this.#time = (this.#time ?? begun ?? 0) + STEP * this.#speed;
    let { seq } = place;
    const pages = this.#pages;
    while (seq < this.#head) {
      const next = pages.at(seq + 1);
      const at = next === undefined ? null : Date.parse(String(next.row.created_at));
      if (at !== null && at > this.#time && begun !== null) break;
      seq += 1;
      if (next === undefined || begun === null) break; // it is loaded, and gives the time
    }
    if (seq === place.seq) return;
    this.#target = seq;
    void this.#go();
  };
}
