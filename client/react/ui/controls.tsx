'use client';
import { type ReactElement, useRef } from 'react';
import type { Control } from '../../store/index.js';
import { useExecutionControls } from '../execution.js';
import { classes } from './format.js';
import { Icon } from './icon.js';

export interface ExecutionControlsProps {
  readonly id: string;
  /** Whether cancelling is confirmed first: it is by default. */
  readonly confirmCancel?: boolean | undefined;
  /** Off, for example while not connected. */
  readonly disabled?: boolean | undefined;
  readonly className?: string | undefined;
}

const LABELS: Readonly<Record<Control, readonly [string, string]>> = {
  pause: ['Pause', 'Pausing…'],
  resume: ['Resume', 'Resuming…'],
  cancel: ['Cancel', 'Cancelling…'],
};

/** Pause, resume and cancel, as far as the status allows. Nothing is shown as done before its event has arrived. */
export function ExecutionControls(props: ExecutionControlsProps): ReactElement {
  const { id, confirmCancel = true, disabled = false, className } = props;
  const { may, asked, error, pause, resume, cancel } = useExecutionControls(id);
  const dialog = useRef<HTMLDialogElement>(null);
  const button = (control: Control, onClick: () => unknown) =>
    (may[control] || asked === control) && (
      <button
        key={control}
        type="button"
        className="rc-button"
        data-state={asked === control ? 'asked' : 'ready'}
        disabled={disabled || asked !== null}
        onClick={() => void onClick()}
      >
        <Icon name={control === 'pause' ? 'paused' : control === 'resume' ? 'play' : 'cancelled'} />
        {LABELS[control][asked === control ? 1 : 0]}
      </button>
    );
  return (
    <div className={classes('rc-controls', className)}>
      {button('pause', pause)}
      {button('resume', resume)}
      {button('cancel', confirmCancel ? () => dialog.current?.showModal() : cancel)}
      {error !== null && (
        <span className="rc-controls__error" role="alert">
          {error.message}
        </span>
      )}
      <dialog ref={dialog} className="rc-dialog" aria-labelledby={`cancel-${id}`}>
        <h2 id={`cancel-${id}`}>Cancel this execution?</h2>
        <p>It cannot be resumed afterwards. What it has written stays.</p>
        <form method="dialog" className="rc-dialog__actions">
          <button type="submit" className="rc-button">
            Keep it
          </button>
          <button type="submit" className="rc-button rc-button--danger" onClick={() => void cancel()}>
            Cancel the execution
          </button>
        </form>
      </dialog>
    </div>
  );
}
