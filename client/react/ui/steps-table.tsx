'use client';
import { Fragment, type ReactElement } from 'react';
import type { StepRecord } from '../../progress/index.js';
import { Attempts, STEP_ICONS, tookOf } from './attempts.js';
import { classes, cut } from './format.js';
import { Icon } from './icon.js';
import { Time } from './time.js';

/** Steps that are listed: the latest. */
const MAX_STEPS = 200;

export interface StepsTableProps {
  readonly steps: readonly StepRecord[];
  /** The time, in milliseconds since 1970; null: the clocks stand. */
  readonly now: number | null;
  readonly selected?: string | null | undefined;
  readonly onShowInLog?: ((seq: number) => void) | undefined;
  readonly className?: string | undefined;
}

/** The steps of an execution, the latest first. */
export function StepsTable({ steps, now, selected = null, onShowInLog, className }: StepsTableProps): ReactElement {
  const shown = steps.slice(-MAX_STEPS).toReversed();
  return (
    <div className={classes('rc-steps', className)}>
      {steps.length > shown.length && (
        <p className="rc-panel__note">
          The latest {shown.length} of {steps.length} steps.
        </p>
      )}
      <table className="rc-table">
        <thead>
          <tr>
            <th scope="col">Status</th>
            <th scope="col">Step</th>
            <th scope="col">Agent</th>
            <th scope="col">Began</th>
            <th scope="col">Took</th>
            <th scope="col">Result</th>
          </tr>
        </thead>
        <tbody>
          {shown.map((step) => (
            <Fragment key={step.id}>
              <tr data-state={step.status} data-selected={step.id === selected}>
                <td>
                  <span className="rc-step__status" data-state={step.status}>
                    <Icon name={STEP_ICONS[step.status]} />
                    {step.status}
                  </span>
                </td>
                <td>{cut(step.name, 120)}</td>
                <td>{step.agent === null ? '–' : cut(step.agent, 60)}</td>
                <td>{step.startedAt === null ? '–' : <Time at={step.startedAt} />}</td>
                <td>{tookOf(step, now)}</td>
                <td>
                  {step.error !== null ? (
                    <span className="rc-step__error">{cut(step.error, 200)}</span>
                  ) : step.output === null ? (
                    '–'
                  ) : (
                    <code>{cut(JSON.stringify(step.output), 120)}</code>
                  )}
                  {onShowInLog !== undefined && (
                    <button
                      type="button"
                      className="rc-button rc-button--small rc-step__show"
                      onClick={() => onShowInLog(step.seq)}
                    >
                      Log
                    </button>
                  )}
                </td>
              </tr>
              {step.earlier !== undefined && (
                <tr className="rc-steps__attempts">
                  <td />
                  <td colSpan={5}>
                    <Attempts step={step} now={now} />
                  </td>
                </tr>
              )}
            </Fragment>
          ))}
        </tbody>
      </table>
      {steps.length === 0 && <p className="rc-panel__note">No step has begun yet.</p>}
    </div>
  );
}
