'use client';
import type { ReactElement } from 'react';
import type { StepRecord } from '../../progress/index.js';
import { cut, duration } from './format.js';
import { Icon, type IconName } from './icon.js';

export const STEP_ICONS: Readonly<Record<StepRecord['status'], IconName>> = {
  running: 'running',
  done: 'completed',
  failed: 'failed',
  abandoned: 'cancelled',
};

type Attempt = Pick<StepRecord, 'status' | 'error' | 'startedAt' | 'endedAt' | 'durationMs' | 'seq'> & {
  /** 1 is the first. */
  readonly number: number;
};

/** The attempts of a step: those before, as far as they are kept, and the present one. */
export function attemptsOf(step: StepRecord): readonly Attempt[] {
  const { earlier = [] } = step;
  return [...earlier, { ...step, number: (earlier.at(-1)?.number ?? 0) + 1 }];
}

/** How long an attempt took, or has taken; `now` null: its clock stands. */
export function tookOf(attempt: Omit<Attempt, 'number'>, now: number | null): string {
  const { durationMs, startedAt, endedAt, status } = attempt;
  if (durationMs !== null) return duration(durationMs);
  if (startedAt === null) return '–';
  if (endedAt !== null) return duration(endedAt - startedAt);
  return status === 'running' && now !== null ? duration(now - startedAt) : '–';
}

interface AttemptsProps {
  readonly step: StepRecord;
  readonly now: number | null;
}

/** The attempts of a step side by side. */
export function Attempts({ step, now }: AttemptsProps): ReactElement {
  return (
    <ol className="rc-attempts" aria-label={`Attempts of ${cut(step.name, 120)}`}>
      {attemptsOf(step).map((attempt) => (
        <li key={attempt.number} className="rc-attempts__attempt">
          <span className="rc-step__status" data-state={attempt.status}>
            <Icon name={STEP_ICONS[attempt.status]} />#{attempt.number} {attempt.status}
          </span>
          <span className="rc-attempts__took">{tookOf(attempt, now)}</span>
          {attempt.error !== null && <span className="rc-step__error">{cut(attempt.error, 200)}</span>}
        </li>
      ))}
    </ol>
  );
}
