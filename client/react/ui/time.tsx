'use client';
import { createContext, type ReactElement, useContext } from 'react';
import { useNow } from '../connection.js';
import { ago, timeOfDay } from './format.js';

/** `local`: in the time zone of the reader. `relative`: how long ago, or in how long. */
export type TimeFormat = 'local' | 'utc' | 'relative';

/** How all components below show times; `local` by default. */
export const TimeFormatContext = createContext<TimeFormat>('local');

export interface TimeProps {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** To the millisecond. */
  readonly precise?: boolean;
}

/** A time, in the format of the page. The pointer finds all of it, with its date, in UTC. */
export function Time({ at, precise = false }: TimeProps): ReactElement {
  const format = useContext(TimeFormatContext);
  const iso = isoOf(at);
  return (
    <time dateTime={iso} title={iso}>
      {format === 'relative' ? <Distance at={at} /> : timeOfDay(at, { utc: format === 'utc', precise })}
    </time>
  );
}

function Distance({ at }: { readonly at: number }): string {
  return ago(useNow(1_000) - at);
}

/** A prediction may be beyond the range of dates. */
function isoOf(at: number): string | undefined {
  const date = new Date(at);
  return Number.isNaN(date.getTime()) ? undefined : date.toISOString();
}
