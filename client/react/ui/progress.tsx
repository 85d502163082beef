'use client';
import type { ReactElement } from 'react';
import { isFinished, type Progress } from '../../progress/index.js';
import type { Live, Tracking } from '../../store/index.js';
import { useProgressTracking } from '../execution.js';
import { classes, duration, whole } from './format.js';

export type ExecutionProgressProps = {
  /** What the bar is called for screen readers: `Progress` by default. */
  readonly label?: string | undefined;
  readonly showRemaining?: boolean | undefined;
  readonly showSteps?: boolean | undefined;
  readonly className?: string | undefined;
} & (
  | { /** The execution. */ readonly id: string; readonly value?: undefined }
  | {
      readonly id?: undefined /** Its tracking, where the application has it already. */;
      readonly value: Live<Tracking>;
    }
);

/** How far an execution is, how long it will take, and how sure that is. */
export function ExecutionProgress({ id, value, ...rest }: ExecutionProgressProps): ReactElement {
  return id === undefined ? <ProgressOf live={value} {...rest} /> : <ProgressById id={id} {...rest} />;
}

type Rest = Omit<ExecutionProgressProps, 'id' | 'value'>;

function ProgressById({ id, ...rest }: Rest & { readonly id: string }): ReactElement {
  return <ProgressOf live={useProgressTracking(id)} {...rest} />;
}

function ProgressOf({ live, className, ...rest }: Rest & { readonly live: Live<Tracking> }): ReactElement {
  const { status, data } = live;
  if (data === undefined)
    return <div className={classes('rc-progress', className)} data-state={status} aria-hidden="true" />;
  return <ProgressBar progress={data.progress} state={status} className={className} {...rest} />;
}

export interface ProgressBarProps extends Rest {
  readonly progress: Pick<Progress, 'status' | 'percent' | 'basis' | 'steps' | 'remaining'>;
  /** How current it is: the status of the `Live` that it is from. */
  readonly state?: Live<unknown>['status'] | undefined;
}

/** The bar alone. It has no value while the total is not known. */
export function ProgressBar(props: ProgressBarProps): ReactElement {
  const { progress, state = 'live', label = 'Progress', showRemaining = true, showSteps = true, className } = props;
  const { status, percent, basis, steps, remaining } = progress;
  const known = basis !== 'none' || status === 'completed';
  const value = known ? { 'aria-valuenow': percent, 'aria-valuetext': `${percent} %` } : {};
  return (
    <div className={classes('rc-progress', className)} data-state={state} data-status={status} data-known={known}>
      <div
        className="rc-progress__track"
        role="progressbar"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        {...value}
      >
        <div className="rc-progress__bar" style={{ inlineSize: `${known ? percent : 100}%` }} />
      </div>
      <span className="rc-progress__percent">{known ? `${percent} %` : 'no plan'}</span>
      {showSteps && <span className="rc-progress__steps">{stepsText(steps)}</span>}
      {showRemaining && !isFinished(status) && (
        <span className="rc-progress__remaining">
          {remaining !== null && (
            <>
              {remaining.expected < 1_000 ? 'less than 1 s left' : `about ${duration(remaining.expected)} left`}
              <span className="rc-progress__range">
                {' '}
                ({duration(remaining.low)} – {duration(remaining.high)})
              </span>
            </>
          )}
        </span>
      )}
    </div>
  );
}

function stepsText({ done, failed, total }: Progress['steps']): string {
  const text =
    total === null ? `${whole(done)} ${done === 1 ? 'step' : 'steps'} done` : `${whole(done)} of ${whole(total)} steps`;
  return failed === 0 ? text : `${text} · ${whole(failed)} failed`;
}
