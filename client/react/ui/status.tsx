'use client';
import type { ReactElement } from 'react';
import type { ExecutionStatus } from '../../progress/index.js';
import { classes } from './format.js';
import { Icon } from './icon.js';

export interface StatusBadgeProps {
  readonly status: ExecutionStatus;
  readonly className?: string | undefined;
}

/** The status of an execution: a sign, a word and a colour. */
export function StatusBadge({ status, className }: StatusBadgeProps): ReactElement {
  return (
    <span className={classes('rc-status', className)} data-state={status}>
      <Icon name={status} />
      {status}
    </span>
  );
}
