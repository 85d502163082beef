'use client';
import type { ReactElement } from 'react';
import type { Quiet } from '../../store/index.js';
import { classes, duration } from './format.js';

export interface QuietForProps {
  readonly quiet: Quiet;
  /** The time, in milliseconds since 1970; null: not connected, so that silence says nothing. */
  readonly now: number | null;
  readonly className?: string | undefined;
}

/** For how long nothing was written, and how long that usually takes: a measurement. `data-state` is `long` beyond what is usual. */
export function QuietFor({ quiet, now, className }: QuietForProps): ReactElement | null {
  const { lastAt, usual } = quiet;
  if (lastAt === null || now === null) return null;
  const silent = Math.max(0, now - lastAt);
  const long = usual !== null && silent > 2 * usual.p90;
  return (
    <span className={classes('rc-quiet', className)} data-state={long ? 'long' : 'usual'}>
      quiet {duration(silent)}
      {usual !== null && <span className="rc-quiet__usual">, usual {duration(usual.p50)}</span>}
    </span>
  );
}
