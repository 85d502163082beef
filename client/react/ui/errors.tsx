'use client';
import type { ReactElement } from 'react';
import type { Row } from '../../protocol/index.js';
import type { StreamEvent } from '../../subscription/subscription.js';
import { classes, cut } from './format.js';
import { Icon } from './icon.js';
import { entryOf } from './log-entry.js';
import { Time } from './time.js';

/** Characters of an error and of each row before it. */
const MAX_MESSAGE = 2_000;
const MAX_ROW = 300;

export interface ErrorDisplayProps {
  /** What failed. `step`: the name of the step in which it happened. */
  readonly error: { readonly message: string; readonly step?: string | null | undefined };
  /** The events that came before it, the oldest first. */
  readonly before?: readonly StreamEvent<Row>[] | undefined;
  readonly onRetry?: (() => void) | undefined;
  readonly onShowInLog?: (() => void) | undefined;
  readonly className?: string | undefined;
}

/** An error, where it happened, and what came before it. */
export function ErrorDisplay({ error, before = [], onRetry, onShowInLog, className }: ErrorDisplayProps): ReactElement {
  const { message, step } = error;
  return (
    <section className={classes('rc-error', className)} data-state="failed" aria-label="Error">
      <p className="rc-error__message">
        <Icon name="error" />
        <span>{cut(message, MAX_MESSAGE)}</span>
      </p>
      {typeof step === 'string' && <p className="rc-error__step">in the step “{cut(step, MAX_ROW)}”</p>}
      {before.length > 0 && (
        <details className="rc-error__before" open>
          <summary>What came before: {before.length} rows</summary>
          <ol className="rc-error__rows">
            {before.map((event) => {
              const { at, level, message } = entryOf(event);
              return (
                <li key={event.seq} className="rc-error__row" data-level={level}>
                  <span className="rc-error__seq">{event.seq}</span>
                  <span className="rc-error__time">{at !== null && <Time at={at} precise />}</span>
                  <span className="rc-error__text">{cut(message, MAX_ROW)}</span>
                </li>
              );
            })}
          </ol>
        </details>
      )}
      {(onRetry !== undefined || onShowInLog !== undefined) && (
        <p className="rc-error__actions">
          {onShowInLog !== undefined && (
            <button type="button" className="rc-button" onClick={onShowInLog}>
              Show in log
            </button>
          )}
          {onRetry !== undefined && (
            <button type="button" className="rc-button" onClick={onRetry}>
              <Icon name="retry" /> Try again
            </button>
          )}
        </p>
      )}
    </section>
  );
}
