import { isFinished, type Progress, type StepRecord } from '../progress/index.js';
import { NO_RHYTHM, type Quiet, quietOf, type Rhythm } from './rhythm.js';
import { own } from './shared.js';

/** One agent: all steps that have its name. */
export interface AgentView {
  readonly name: string;
  /**
   * `running`: it has a step that runs. `error`: its last step failed. `complete`: the execution has ended, or has left the
   * stage of its last step. Else `idle`.
   */
  readonly state: 'idle' | 'running' | 'complete' | 'error';
  /** The step that runs, else the last one. */
  readonly step: StepRecord;
  /** Since when it has a step that runs, in milliseconds since 1970. */
  readonly runningSince: number | null;
  /** Of the steps that are kept. */
  readonly done: number;
  readonly failed: number;
  readonly quiet: Quiet;
}

/** In the order in which their first steps began. */
export function agentsOf(
  steps: readonly StepRecord[],
  progress: Progress,
  rhythms: Readonly<Record<string, Rhythm>>,
): AgentView[] {
  const byAgent = new Map<string, StepRecord[]>();
  for (const step of steps) {
    if (step.agent === null) continue;
    const known = byAgent.get(step.agent);
    if (known === undefined) byAgent.set(step.agent, [step]);
    else known.push(step);
  }
  return [...byAgent].map(([name, some]) => agentOf(name, some, progress, own(rhythms, name) ?? NO_RHYTHM));
}

function agentOf(name: string, steps: readonly StepRecord[], progress: Progress, rhythm: Rhythm): AgentView {
  const count = (status: StepRecord['status']) => steps.filter((one) => one.status === status).length;
  const running = steps.filter(({ status }) => status === 'running');
  // The one that an event changed last: a step that was begun again stands where it began first.
  const some = running.length > 0 ? running : steps;
  const step = some.reduce((last, one) => (one.seq > last.seq ? one : last));
  const began = running.flatMap(({ startedAt }) => (startedAt === null ? [] : [startedAt]));
  const times = steps.flatMap(({ startedAt, endedAt }) => [startedAt ?? 0, endedAt ?? 0]);
  return {
    name,
    state: running.length > 0 ? 'running' : stateAfter(step, progress),
    step,
    runningSince: began.length > 0 ? Math.min(...began) : null,
    done: count('done'),
    failed: count('failed'),
    quiet: quietOf(rhythm, Math.max(...times) || null),
  };
}

function stateAfter({ status, stage }: StepRecord, progress: Progress): AgentView['state'] {
  if (status === 'failed') return 'error';
  const left = stage !== null && progress.stage !== null && stage < progress.stage.number;
  return left || isFinished(progress.status) ? 'complete' : 'idle';
}
