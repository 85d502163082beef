'use client';
import { useMemo } from 'react';
import type { Progress } from '../progress/index.js';
import type {
  Controls,
  ExecutionFilter,
  ExecutionList,
  ExecutionsStore,
  Live,
  Replay,
  ReplayStore,
  Tracking,
} from '../store/index.js';
import { useRowcast } from './provider.js';
import { useLive, useValue } from './read.js';

/** The part of the progress that says how an execution stands. */
export type ExecutionStanding = Pick<
  Progress,
  'status' | 'stage' | 'percent' | 'basis' | 'startedAt' | 'endedAt' | 'error'
>;

/** Progress, steps, agents, health, metrics and silence of an execution; null: of none. `select` may be written inline. */
export function useProgressTracking<T = Tracking>(id: string | null, select?: (tracking: Tracking) => T): Live<T> {
  const store = useRowcast();
  return useLive(id === null ? null : store.execution(id), select);
}

/** How an execution stands. Renders only when that changes. */
export function useAgentExecutionStatus(id: string | null): Live<ExecutionStanding> {
  return useProgressTracking(id, standingOf);
}

function standingOf({ progress }: Tracking): ExecutionStanding {
  const { status, stage, percent, basis, startedAt, endedAt, error } = progress;
  return { status, stage, percent, basis, startedAt, endedAt, error };
}

/** The executions of a venture. New ones wait until `show`; `more` reads older ones. */
export function useExecutions(
  venture: string,
  filter?: ExecutionFilter,
): Live<ExecutionList> & { show(): void; more(): Promise<void> } {
  const executions: ExecutionsStore = useRowcast().executions(venture, filter);
  return { ...useLive(executions), show: executions.show, more: executions.loadMore };
}

/** What may be done with an execution, and doing it. What was asked for is `asked` until its event arrives. */
export function useExecutionControls(
  id: string,
): Controls & { pause(): Promise<void>; resume(): Promise<void>; cancel(): Promise<void> } {
  const { controls } = useRowcast().execution(id);
  const state = useValue(controls);
  return useMemo(() => {
    const ask = (control: 'pause' | 'resume' | 'cancel') => () => controls.ask(control);
    return { ...state, pause: ask('pause'), resume: ask('resume'), cancel: ask('cancel') };
  }, [state, controls]);
}

/** An execution as it was after any of its events. */
export function useReplay(id: string): Replay & Pick<ReplayStore, 'seek' | 'step' | 'play' | 'pause' | 'live'> {
  const { replay } = useRowcast().execution(id);
  const { seek, step, play, pause, live } = replay;
  return { ...useValue(replay), seek, step, play, pause, live };
}
