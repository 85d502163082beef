'use client';
import { memo, type ReactElement, type ReactNode } from 'react';
import type { Row } from '../../protocol/index.js';
import type { StreamEvent } from '../../subscription/subscription.js';
import { cut, duration, whole } from './format.js';
import { Icon } from './icon.js';
import { entryOf } from './log-entry.js';
import { Time } from './time.js';

interface LogRowProps {
  readonly id: string;
  readonly index: number;
  readonly seq: number | undefined;
  /** Undefined while it is not loaded. */
  readonly event: StreamEvent<Row> | undefined;
  readonly marked: boolean;
  /** After the moment that is shown. */
  readonly later: boolean;
  readonly height: number;
  readonly maxChars: number;
  readonly renderRow: ((event: StreamEvent<Row>) => ReactNode) | undefined;
  readonly onMark: () => void;
}

/** One row of a `LogView`. One that is not loaded yet has its height and its number. */
export const LogRow = memo(LogLine, (before, after) =>
  (['id', 'index', 'event', 'marked', 'later', 'height', 'maxChars', 'renderRow'] as const).every(
    (name) => before[name] === after[name],
  ),
);

function LogLine(props: LogRowProps): ReactElement {
  const { id, index, seq, event, marked, later, height, maxChars, renderRow, onMark } = props;
  const common = {
    id,
    className: 'rc-log__row',
    role: 'row',
    'aria-rowindex': index + 1,
    'aria-selected': marked,
    'data-later': later,
    style: { blockSize: height },
  };
  const number = (
    <span className="rc-log__seq" role="gridcell">
      {seq === undefined ? '' : whole(seq)}
    </span>
  );
  if (event === undefined) {
    return (
      <div {...common} data-state="loading">
        {number}
        <span className="rc-log__skeleton" role="gridcell">
          <span className="rc-hidden">loading</span>
        </span>
      </div>
    );
  }
  const { at, level, agent, type, message } = entryOf(event);
  return (
    <div {...common} data-state="loaded" data-level={level} onClick={onMark}>
      {number}
      {renderRow === undefined ? (
        <>
          <span className="rc-log__time" role="gridcell">
            {at !== null && <Time at={at} precise />}
          </span>
          <span className="rc-log__level" role="gridcell" data-level={level}>
            {level !== 'info' && <Icon name={level} />}
            {level}
          </span>
          <span className="rc-log__agent" role="gridcell">
            {cut(agent, 40)}
          </span>
          <span className="rc-log__type" role="gridcell">
            {cut(type, 60)}
          </span>
          <span className="rc-log__message" role="gridcell">
            {cut(message, maxChars)}
          </span>
          <span className="rc-log__took" role="gridcell" title="from the INSERT until the gateway sent it">
            {tookOf(event)}
          </span>
        </>
      ) : (
        <span className="rc-log__message" role="gridcell">
          {renderRow(event)}
        </span>
      )}
    </div>
  );
}

/** How long a new event took, where the client asks for that and the row says when it was written. */
function tookOf({ times }: StreamEvent<Row>): string {
  if (times === undefined || times.written === null) return '';
  return duration(times.sent - times.written);
}
