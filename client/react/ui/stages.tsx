'use client';
import type { ReactElement } from 'react';
import type { Progress, StepRecord } from '../../progress/index.js';
import { classes } from './format.js';
import { Icon } from './icon.js';

/** Stages that are shown. */
const MAX_STAGES = 100;

export interface Stage {
  readonly number: number;
  readonly name: string | null;
}

export interface StageIndicatorProps {
  readonly stages: readonly Stage[];
  /** The number of the stage that it is in; null before the first. */
  readonly current: number | null;
  /** All stages are done, also the current one. */
  readonly done?: boolean | undefined;
  /** The current stage failed. */
  readonly failed?: boolean | undefined;
  readonly orientation?: 'horizontal' | 'vertical' | undefined;
  readonly className?: string | undefined;
}

/** The stages of an execution, and which it is in. */
export function StageIndicator(props: StageIndicatorProps): ReactElement {
  const { stages, current, done = false, failed = false, orientation = 'horizontal', className } = props;
  const stateOf = ({ number }: Stage) => {
    if (current === null || number > current) return 'pending';
    if (number < current || done) return 'completed';
    return failed ? 'failed' : 'running';
  };
  return (
    <ol className={classes('rc-stages', className)} data-orientation={orientation} aria-label="Stages">
      {stages.map((stage) => {
        const state = stateOf(stage);
        return (
          <li
            key={stage.number}
            className="rc-stages__stage"
            data-state={state}
            {...(stage.number === current && { 'aria-current': 'step' as const })}
          >
            <span className="rc-stages__mark">
              <Icon name={state} />
            </span>
            <span className="rc-stages__name">{stage.name ?? `Stage ${stage.number}`}</span>
          </li>
        );
      })}
    </ol>
  );
}

/** The stages that are known: those of the plan, else those up to the latest that was seen. */
export function stagesOf(
  { stage, stages }: Pick<Progress, 'stage' | 'stages'>,
  steps: readonly Pick<StepRecord, 'stage'>[],
): Stage[] {
  const seen = stages.length > 0 ? [] : steps.flatMap(({ stage }) => stage ?? []);
  const last = seen.reduce((most, number) => Math.max(most, number), Math.max(stages.length, stage?.number ?? 0));
  return Array.from({ length: Math.min(last, MAX_STAGES) }, (_, index) => {
    const number = index + 1;
    return { number, name: stages[index] ?? (stage?.number === number ? stage.name : null) };
  });
}
