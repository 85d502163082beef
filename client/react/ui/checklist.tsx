'use client';
import type { ReactElement } from 'react';
import { classes } from './format.js';
import { Icon } from './icon.js';

/** What must or should be there before a run begins. */
export interface Check {
  readonly id: string;
  readonly label: string;
  readonly state: 'ok' | 'missing' | 'recommended';
  readonly hint?: string | undefined;
}

export interface PreflightChecklistProps {
  readonly checks: readonly Check[];
  /** Off until nothing is `missing`. */
  readonly onRun?: (() => void) | undefined;
  readonly className?: string | undefined;
}

const WORDS: Readonly<Record<Check['state'], string>> = { ok: 'ready', missing: 'missing', recommended: 'recommended' };

export function PreflightChecklist({ checks, onRun, className }: PreflightChecklistProps): ReactElement {
  const missing = checks.filter(({ state }) => state === 'missing').length;
  return (
    <section
      className={classes('rc-preflight', className)}
      data-state={missing === 0 ? 'ok' : 'missing'}
      aria-label="Before the run"
    >
      <ul className="rc-preflight__checks">
        {checks.map(({ id, label, state, hint }) => (
          <li key={id} className="rc-preflight__check" data-state={state}>
            <Icon name={state === 'ok' ? 'completed' : state === 'missing' ? 'failed' : 'warning'} />
            <span className="rc-preflight__label">{label}</span>
            <span className="rc-preflight__state">{WORDS[state]}</span>
            {hint !== undefined && <span className="rc-preflight__hint">{hint}</span>}
          </li>
        ))}
      </ul>
      {onRun !== undefined && (
        <button type="button" className="rc-button rc-button--primary" disabled={missing > 0} onClick={onRun}>
          {missing === 0 ? 'Run' : `${missing} missing`}
        </button>
      )}
    </section>
  );
}

export interface CompletenessScoreProps {
  readonly checks: readonly Check[];
  readonly label?: string | undefined;
  readonly className?: string | undefined;
}

/** The part of the checks that is fulfilled. What is only recommended counts half. */
export function CompletenessScore({ checks, label = 'Completeness', className }: CompletenessScoreProps): ReactElement {
  const weight = ({ state }: Check) => (state === 'recommended' ? 0.5 : 1);
  const all = checks.length === 0 ? 1 : checks.reduce((sum, check) => sum + weight(check), 0);
  const met = checks.filter(({ state }) => state === 'ok').length + (checks.length === 0 ? 1 : 0);
  const score = Math.round((met / all) * 100);
  return (
    <div className={classes('rc-completeness', className)} data-state={score === 100 ? 'complete' : 'partial'}>
      <div
        className="rc-progress__track"
        role="meter"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={score}
      >
        <div className="rc-progress__bar" style={{ inlineSize: `${score}%` }} />
      </div>
      <span className="rc-completeness__score">{score} %</span>
    </div>
  );
}
