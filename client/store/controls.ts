import type { RowcastError } from '../ground/error.js';
import type { Store } from './live.js';

export type Control = 'pause' | 'resume' | 'cancel';

/** What may be done with an execution. Nothing is shown as done before its event has arrived. */
export interface Controls {
  readonly may: Readonly<Record<Control, boolean>>;
  /** What this page has asked for, until the event of it arrives. */
  readonly asked: Control | null;
  /** Why the last request was refused. */
  readonly error: RowcastError | null;
}

export interface ControlsStore extends Store<Controls> {
  /** Changes the status of the execution; what does the work has to heed it. A refusal is in `error`. */
  ask(control: Control): Promise<void>;
}
