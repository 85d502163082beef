'use client';
import type { ReactElement } from 'react';
import type { Health, HealthReason } from '../../progress/index.js';
import { classes, duration } from './format.js';
import { Time } from './time.js';

export interface HealthGaugeProps {
  readonly health: Health;
  readonly showReasons?: boolean | undefined;
  readonly className?: string | undefined;
}

/** The circumference of the ring, in units of its picture. */
const AROUND = 2 * Math.PI * 20;

/** The score of an execution, with what lowered it. */
export function HealthGauge({ health, showReasons = true, className }: HealthGaugeProps): ReactElement {
  const { score, word, reasons, predictedEnd } = health;
  return (
    <div className={classes('rc-health', className)} data-state={word}>
      <div
        className="rc-health__meter"
        role="meter"
        aria-label="Health"
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={score}
        aria-valuetext={`${score}, ${word}`}
      >
        <svg className="rc-health__ring" viewBox="0 0 48 48" aria-hidden="true" focusable="false">
          <circle className="rc-health__rest" cx="24" cy="24" r="20" fill="none" strokeWidth="5" />
          <circle
            className="rc-health__score-ring"
            cx="24"
            cy="24"
            r="20"
            fill="none"
            strokeWidth="5"
            strokeLinecap="round"
            strokeDasharray={`${(score / 100) * AROUND} ${AROUND}`}
            transform="rotate(-90 24 24)"
          />
        </svg>
        <span className="rc-health__score">{score}</span>
      </div>
      <span className="rc-health__word">{word}</span>
      {showReasons && (
        <ul className="rc-health__reasons">
          {reasons.length === 0 && <li className="rc-health__reason">nothing lowers it</li>}
          {reasons.map((reason) => (
            <li key={reason.code} className="rc-health__reason">
              <span className="rc-health__points">−{reason.points}</span> {textOf(reason)}
            </li>
          ))}
          {predictedEnd !== null && (
            <li className="rc-health__reason">
              <span className="rc-health__points">≈</span> ends at <Time at={predictedEnd.expected} /> (
              <Time at={predictedEnd.low} /> – <Time at={predictedEnd.high} />)
            </li>
          )}
        </ul>
      )}
    </div>
  );
}

function textOf({ code, value, threshold }: HealthReason): string {
  const percent = (share: number) => `${Math.round(share * 100)} %`;
  if (code === 'completion') return `${percent(value)} of the steps due are done, below ${percent(threshold)}`;
  if (code === 'errors') return `${percent(value)} of the attempts failed, above ${percent(threshold)}`;
  return `a step takes ${duration(value)} on average, above ${duration(threshold)}`;
}
