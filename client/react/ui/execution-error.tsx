'use client';
import { type ReactElement, useEffect } from 'react';
import type { ProgressError, StepRecord } from '../../progress/index.js';
import { useLog } from '../channel.js';
import { ErrorDisplay } from './errors.js';

/** The events before the error that are shown. */
const BEFORE = 5;

export interface ExecutionErrorProps {
  readonly channel: string;
  readonly error: ProgressError;
  readonly steps: readonly StepRecord[];
  readonly onShowInLog: (seq: number) => void;
}

/** The error of an execution with the events before it. */
export function ExecutionError({ channel, error, steps, onShowInLog }: ExecutionErrorProps): ReactElement {
  const log = useLog(channel);
  const seq = steps.findLast(({ status }) => status === 'failed')?.seq;
  const index = seq === undefined ? -1 : log.indexOf(seq);
  const from = Math.max(0, index - BEFORE);
  useEffect(() => {
    if (index > 0) log.show(from, index + 1);
  }, [log, from, index]);
  const before = Array.from({ length: Math.max(0, index - from) }, (_, offset) => log.at(from + offset) ?? []).flat();
  return (
    <ErrorDisplay error={error} before={before} {...(seq !== undefined && { onShowInLog: () => onShowInLog(seq) })} />
  );
}
