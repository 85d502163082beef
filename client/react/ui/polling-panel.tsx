'use client';
import { type ReactElement, useId } from 'react';
import type { PollingState } from '../../store/index.js';
import { usePolling } from '../connection.js';
import { classes, duration, roughly } from './format.js';

/** Milliseconds. */
const INTERVALS = [500, 1_000, 2_000, 5_000, 10_000, 30_000];

export interface PollingPanelProps {
  readonly className?: string | undefined;
}

/** How polling on an interval is doing, and its controls. */
export function PollingPanel({ className }: PollingPanelProps): ReactElement {
  const polling = usePolling();
  const id = useId();
  const { active, paused, warnings, pause, resume, refresh, setIntervals } = polling;
  const { successRate, meanResponse, p95Response, breaker, recovery, interval, thresholds } = polling;
  const choose = (interval: number) => setIntervals({ interval, running: interval });
  return (
    <section
      className={classes('rc-panel', className)}
      data-state={active ? (paused ? 'paused' : 'active') : 'off'}
      aria-label="Polling"
    >
      <dl className="rc-figures">
        <Figure
          name="Success"
          value={active ? percent(successRate) : '–'}
          threshold={`warns below ${percent(1 - thresholds.failureRate)}`}
        />
        <Figure
          name="Response, mean"
          value={active ? duration(meanResponse) : '–'}
          threshold={`warns above ${roughly(thresholds.response)}`}
        />
        <Figure name="Response, p95" value={active ? duration(p95Response) : '–'} />
        <Figure
          name="Recovery"
          value={recovery === null ? '–' : duration(recovery)}
          threshold={`warns above ${roughly(thresholds.recovery)}`}
        />
        <Figure name="Breaker" value={active ? breaker : '–'} />
      </dl>
      <div className="rc-panel__controls">
        <label htmlFor={id}>Interval</label>
        <select
          id={id}
          className="rc-select"
          disabled={!active}
          value={interval ?? ''}
          onChange={({ target }) => choose(Number(target.value))}
        >
          {[...new Set([...INTERVALS, ...(interval === null ? [] : [interval])])]
            .sort((one, other) => one - other)
            .map((each) => (
              <option key={each} value={each}>
                {duration(each)}
              </option>
            ))}
        </select>
        <button type="button" className="rc-button" disabled={!active} onClick={paused ? resume : pause}>
          {paused ? 'Resume' : 'Pause'}
        </button>
        <button type="button" className="rc-button" disabled={!active} onClick={refresh}>
          Refresh now
        </button>
      </div>
      {!active && <p className="rc-panel__note">Not in use: the connection is not limited to polling.</p>}
      {warnings.length > 0 && (
        <ul className="rc-panel__warnings">
          {warnings.slice(-3).map((warning, index) => (
            <li key={`${index} ${warning.kind}`}>{textOf(warning)}</li>
          ))}
        </ul>
      )}
    </section>
  );
}

interface FigureProps {
  readonly name: string;
  readonly value: string;
  readonly threshold?: string;
}

function Figure({ name, value, threshold }: FigureProps): ReactElement {
  return (
    <div className="rc-figure">
      <dt>{name}</dt>
      <dd>{value}</dd>
      {threshold !== undefined && <dd className="rc-figure__threshold">{threshold}</dd>}
    </div>
  );
}

const percent = (share: number) => `${Math.round(share * 100)} %`;

function textOf({ kind, value, threshold }: PollingState['warnings'][number]): string {
  if (kind === 'failureRate') return `${percent(value)} of the requests failed, above ${percent(threshold)}`;
  const what = kind === 'response' ? 'a response took' : 'an outage lasted';
  return `${what} ${duration(value)}, above ${duration(threshold)}`;
}
