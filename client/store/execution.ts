import { RowcastError } from '../ground/error.js';
import { isFinished } from '../progress/index.js';
import { leavesOut, type Since } from '../protocol/index.js';
import type { Reset, StreamEvent } from '../subscription/subscription.js';
import type { Api } from './api.js';
import { ControlsStore } from './controls.js';
import { type ExecutionSnapshot, readSnapshot } from './execution-snapshot.js';
import { Following, type Host } from './following.js';
import { Late } from './late.js';
import type { Live, Store } from './live.js';
import type { Reader } from './reader.js';
import type { Replay, ReplayStore } from './replay.js';
import type { Rows } from './rows.js';
import { shared } from './shared.js';
import { BEGIN, type Tracking, type TrackingState, track, trackingOf } from './tracking.js';

/** What a server has read for the first picture of a page, by the id of the execution. It can be sent as JSON. */
export interface Initial {
  readonly executions?: Readonly<Record<string, ExecutionSnapshot>> | undefined;
}

/** After so many attempts without an answer an execution is read from its start, over the connection. */
const MAX_ATTEMPTS = 3;

class ExecutionReader implements Reader<Tracking> {
  readonly #api: Api;
  readonly #id: string;
  #state: TrackingState;
  #shown: Tracking | undefined;
  #attempts = 0;

  constructor(api: Api, id: string, initial: ExecutionSnapshot | undefined) {
    this.#api = api;
    this.#id = id;
    this.#state = initial?.state ?? BEGIN;
  }

  async begin(signal: AbortSignal): Promise<Since> {
    this.#state = BEGIN;
    const snapshot = await this.#snapshot(signal);
    if (signal.aborted || snapshot === null) return 'start';
    this.#state = snapshot.state;
    return snapshot.position;
  }

  /** Without one the log is read from its start. Whether it may be read at all, the subscription is told. */
  async #snapshot(signal: AbortSignal): Promise<ExecutionSnapshot | null> {
    try {
      const snapshot = await readSnapshot(this.#api, this.#id, signal);
      this.#attempts = 0;
      return snapshot;
    } catch (error) {
      this.#attempts += 1;
      const again = error instanceof RowcastError && error.retries && this.#attempts < MAX_ATTEMPTS;
      if (again) throw error;
      return null;
    }
  }

  event(event: StreamEvent): void {
    this.#state = track(this.#state, event);
  }

  reset({ reason }: Reset): boolean {
    return !leavesOut(reason);
  }

  value(now: number): Tracking {
    this.#shown = trackingOf(this.#state, now, this.#shown);
    return this.#shown;
  }

  ended(): boolean {
    return isFinished(this.#state.progress.status);
  }

  ticks(): boolean {
    return this.#state.progress.status === 'running';
  }
}

export interface ExecutionParts {
  readonly host: Host;
  readonly api: Api;
  readonly id: string;
  readonly rows: Following<Rows>;
  readonly initial: ExecutionSnapshot | undefined;
}

/** The replay of an execution that follows the head. */
function edgeOf(tracking: Tracking | undefined): Replay {
  const { seq = 0, updatedAt: at = null } = tracking?.progress ?? {};
  const resting = { edge: true, playing: false, speed: 1, loading: false, error: null } as const;
  return { seq, head: seq, at, ...resting, tracking };
}

/** One execution, joined from a snapshot and followed from its position. */
export class ExecutionStore implements Store<Live<Tracking>> {
  readonly id: string;
  readonly controls: ControlsStore;
  readonly replay: ReplayStore;
  readonly following: Following<Tracking>;
  readonly get: Store<Live<Tracking>>['get'];
  readonly getInitial: () => Live<Tracking>;
  readonly subscribe: Store<Live<Tracking>>['subscribe'];

  constructor({ host, api, id, rows, initial }: ExecutionParts) {
    this.id = id;
    const reader = new ExecutionReader(api, id, initial);
    this.following = new Following({ host, channel: `execution:${id}`, reader, initial });
    this.get = this.following.get;
    this.getInitial = this.following.getInitial;
    this.subscribe = this.following.subscribe;
    this.controls = new ControlsStore(api, id, this);
    this.replay = this.#replay(host, api, rows);
  }

  #replay(host: Host, api: Api, rows: Following<Rows>): ReplayStore {
    const load = async () => new (await import('./replay.js')).Player({ host, api, execution: this, rows });
    let before: Replay | undefined;
    const late = new Late(load, () => {
      before = shared(before, edgeOf(this.get().data));
      return before;
    });
    const use = (task: (player: ReplayStore) => void) => void late.use().then(task, () => {});
    return {
      get: late.get,
      getInitial: late.getInitial,
      subscribe: late.subscribe,
      seek: (seq) => use((player) => player.seek(seq)),
      step: (by) => use((player) => player.step(by)),
      play: (speed) => use((player) => player.play(speed)),
      pause: () => use((player) => player.pause()),
      live: () => use((player) => player.live()),
    };
  }

  /** Resolves when there is something to show; rejects with what it failed for. */
  ready(): Promise<void> {
    return new Promise((resolve, reject) => {
      let unsubscribe: () => void = () => {};
      const check = () => {
        const { status, data, error } = this.get();
        if (data === undefined && status !== 'failed') return;
        unsubscribe();
        if (status === 'failed') reject(error);
        else resolve();
      };
      unsubscribe = this.subscribe(check);
      check();
    });
  }
}
