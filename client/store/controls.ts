import { errorOf, type RowcastError } from '../ground/error.js';
import { type ExecutionStatus, isFinished, mayFollow } from '../progress/index.js';
import type { Api } from './api.js';
import { Listeners } from './listeners.js';
import type { Live, Store } from './live.js';
import { shared } from './shared.js';
import type { Tracking } from './tracking.js';

export type Control = 'pause' | 'resume' | 'cancel';

/** What may be done with an execution. Nothing is shown as done before its event has arrived. */
export interface Controls {
  /** What its status allows. Nothing while what is known of it may be old. */
  readonly may: Readonly<Record<Control, boolean>>;
  /** What this page has asked for, until the event of it arrives. */
  readonly asked: Control | null;
  /** Why the last request was refused. */
  readonly error: RowcastError | null;
}

const TARGET = { pause: 'paused', resume: 'running', cancel: 'cancelled' } as const satisfies Record<
  Control,
  ExecutionStatus
>;

export class ControlsStore implements Store<Controls> {
  readonly #api: Api;
  readonly #id: string;
  readonly #execution: Store<Live<Tracking>>;
  readonly #listeners: Listeners;
  readonly subscribe: Store<Controls>['subscribe'];
  #asked: Control | null = null;
  #error: RowcastError | null = null;
  #shown: Controls | undefined;
  #unfollow: () => void = () => {};

  constructor(api: Api, id: string, execution: Store<Live<Tracking>>) {
    this.#api = api;
    this.#id = id;
    this.#execution = execution;
    this.#listeners = new Listeners(
      () => {
        this.#unfollow = execution.subscribe(() => this.#listeners.tell());
      },
      () => this.#unfollow(),
    );
    this.subscribe = this.#listeners.subscribe;
  }

  readonly get = (): Controls => {
    const { status: current, data } = this.#execution.get();
    const status = data?.progress.status;
    const may = (control: Control) =>
      current === 'live' && status !== undefined && status !== TARGET[control] && mayFollow(status, TARGET[control]);
    if (this.#asked !== null && status !== undefined && (status === TARGET[this.#asked] || isFinished(status)))
      this.#asked = null;
    const [asked, error] = [this.#asked, this.#error];
    const next = { may: { pause: may('pause'), resume: may('resume'), cancel: may('cancel') }, asked, error };
    this.#shown = shared(this.#shown, next);
    return this.#shown;
  };

  /** Changes the status of the execution; what does the work has to heed it. A refusal is in `error`. */
  readonly ask = async (control: Control): Promise<void> => {
    this.#set(control, null);
    try {
      await this.#api.patch(`/executions/${encodeURIComponent(this.#id)}`, { status: TARGET[control] });
    } catch (reason) {
      this.#set(null, errorOf(reason));
    }
  };

  #set(asked: Control | null, error: RowcastError | null): void {
    this.#asked = asked;
    this.#error = error;
    this.#listeners.tell();
  }
}
