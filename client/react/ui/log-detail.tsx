'use client';
import type { ReactElement } from 'react';
import type { Row } from '../../protocol/index.js';
import type { StreamEvent } from '../../subscription/subscription.js';
import { duration, whole } from './format.js';
import { Icon } from './icon.js';
import { Time } from './time.js';

export interface LogDetailProps {
  readonly event: StreamEvent<Row>;
  readonly onClose: () => void;
}

/** All of one row. Its texts are those of strangers: they are shown as text. */
export function LogDetail({ event, onClose }: LogDetailProps): ReactElement {
  const { seq, position, row, times } = event;
  const at = typeof row.created_at === 'string' ? Date.parse(row.created_at) : Number.NaN;
  return (
    <section className="rc-detail" aria-label={`Event ${seq}`}>
      <header className="rc-detail__header">
        <strong>Event {whole(seq)}</strong>
        <code className="rc-detail__position">{position}</code>
        {!Number.isNaN(at) && (
          <span className="rc-detail__time">
            <Time at={at} precise />
          </span>
        )}
        {times !== undefined && times.written !== null && (
          <span className="rc-detail__time">read {duration(times.read - times.written)} after it was written</span>
        )}
        <button type="button" className="rc-button rc-button--quiet" aria-label="Close the details" onClick={onClose}>
          <Icon name="close" />
        </button>
      </header>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach that */}
      <pre className="rc-detail__row" tabIndex={0}>
        {JSON.stringify(row, null, 2)}
      </pre>
    </section>
  );
}
