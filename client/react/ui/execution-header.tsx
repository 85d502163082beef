'use client';
import type { ReactElement } from 'react';
import type { Tracking } from '../../store/index.js';
import { ExecutionControls } from './controls.js';
import { duration } from './format.js';
import { HealthGauge } from './health.js';
import { Icon } from './icon.js';
import { QuietFor } from './quiet.js';
import { StatusBadge } from './status.js';

export interface ExecutionHeaderProps {
  readonly id: string;
  readonly title?: string | undefined;
  readonly tracking: Tracking;
  /** The time, in milliseconds since 1970; null: the clocks stand. */
  readonly now: number | null;
  readonly onClose?: (() => void) | undefined;
  /** Whether what writes is on. */
  readonly writable: boolean;
}

/** The verdict: what became of it, for how long, how it does, and what can be done. */
export function ExecutionHeader({ id, title, tracking, now, onClose, writable }: ExecutionHeaderProps): ReactElement {
  const { progress, health, quiet } = tracking;
  const { status, startedAt, endedAt } = progress;
  const until = endedAt ?? now;
  return (
    <header className="rc-verdict">
      {onClose !== undefined && (
        <button type="button" className="rc-button rc-button--quiet rc-verdict__back" onClick={onClose}>
          <Icon name="back" /> Executions
        </button>
      )}
      <div className="rc-verdict__what">
        <h1 className="rc-verdict__title">{title ?? `Execution ${id.slice(0, 8)}`}</h1>
        <p className="rc-verdict__facts">
          <StatusBadge status={status} />
          {startedAt !== null && until !== null && (
            <span className="rc-verdict__elapsed" role="timer" aria-live="off">
              {endedAt === null ? 'for' : 'after'} {duration(until - startedAt)}
            </span>
          )}
          {status === 'running' && <QuietFor quiet={quiet} now={now} />}
          <code className="rc-verdict__id">{id}</code>
        </p>
      </div>
      <HealthGauge health={health} showReasons={false} className="rc-verdict__health" />
      <ExecutionControls id={id} disabled={!writable} className="rc-verdict__controls" />
    </header>
  );
}
