/**
 * What the page of an execution shows of one that the engine runs: its tasks as a graph, or their attempts over time, and what
 * can be done with it beside pause, resume and cancel, which every execution has. Nothing is shown for other executions.
 */
import { memo, type ReactElement, useState } from 'react';
import { useNow, useProgressTracking } from '../../react/index.js';
import { measured, whole } from '../../react/ui/format.js';
import { Icon } from '../../react/ui/icon.js';
import { Time } from '../../react/ui/index.js';
import { askJson, sendJson } from '../access.js';
import { go } from '../places.js';
import { useAsked } from '../use-asked.js';
import { ATTEMPT_EVENTS, Attempts, type LogRow } from './attempts.js';
import { type RunExecution, type Started, type Task, useAct, useKept, useThrottled } from './engine-api.js';
import { TaskDetail } from './task-detail.js';
import { TaskGraph } from './task-graph.js';

/** How often the tasks are read at most, in milliseconds, and how many are shown. */
const EVERY = 400;
const SHOWN = 500;

interface Tasks {
  readonly execution: RunExecution | null;
  readonly tasks: readonly Task[];
}

const REASONS: Readonly<Record<string, string>> = {
  failed_tasks: 'Tasks have failed. Retry them or go on without them, and then resume.',
  budget: 'Its budget is spent. Resume it with a higher one.',
};

export function EnginePart({ id }: { readonly id: string }): ReactElement | null {
  const { data: seq } = useProgressTracking(id, ({ progress }) => progress.seq);
  const change = useThrottled(seq, EVERY);
  const found = useKept(
    useAsked<Tasks>(`tasks ${id} ${change}`, (signal) =>
      askJson(`/api/executions/${id}/tasks?limit=${SHOWN}&values=0`, signal),
    ),
  );
  if (found === undefined || found.execution === null) return null;
  return <Run id={id} change={change} execution={found.execution} tasks={found.tasks} />;
}

interface RunProps {
  readonly id: string;
  /** Another one means that something has happened. */
  readonly change: number | undefined;
  readonly execution: RunExecution;
  readonly tasks: readonly Task[];
}

/** Drawn anew when the tasks were read, not with each event. */
const Run = memo(function Run({ id, change, execution, tasks }: RunProps): ReactElement {
  const [view, setView] = useState<'graph' | 'attempts'>('graph');
  const [selected, select] = useState<string | null>(null);
  const acts = useAct();
  const failed = tasks.find(({ status }) => status === 'failed');
  const decision = tasks.find(({ kind, status }) => kind === 'human' && status === 'ready');
  const task = tasks.find(({ task_id }) => task_id === selected) ?? failed ?? decision;
  const { total, completed, running, skipped } = execution.tasks;
  const reason = execution.status === 'paused' ? REASONS[execution.pause_reason ?? ''] : undefined;
  return (
    <section className="engine" aria-label="Tasks">
      <header className="engine__header">
        <h2 className="engine__title">Tasks</h2>
        <span className="engine__counts">
          {whole(completed)} of {whole(total)} completed · {whole(running)} running · {whole(execution.tasks.failed)}{' '}
          failed
          {skipped > 0 && ` · ${whole(skipped)} skipped`}
          {execution.spent > 0 && ` · cost ${measured(execution.spent)}`}
          {execution.budget !== null && ` of ${measured(execution.budget)}`}
        </span>
        <fieldset className="engine__views">
          <legend className="rc-hidden">Show the tasks as</legend>
          {(['graph', 'attempts'] as const).map((each) => (
            <button
              key={each}
              type="button"
              className="rc-button rc-button--small"
              aria-pressed={each === view}
              onClick={() => setView(each)}
            >
              {each === 'graph' ? 'Graph' : 'Attempts'}
            </button>
          ))}
        </fieldset>
        <RunControls execution={execution} {...acts} />
      </header>
      {reason !== undefined && (
        <p className="notice" role="note">
          {reason}
        </p>
      )}
      {execution.status === 'running' && <Health id={id} change={change} />}
      {acts.error !== null && (
        <p className="engine__error" role="alert">
          {acts.error.message}
        </p>
      )}
      {total > tasks.length && <p className="rc-panel__note">The first {whole(tasks.length)} tasks of the plan.</p>}
      {view === 'graph' ? (
        <TaskGraph tasks={tasks} selected={task?.task_id ?? null} onSelect={select} />
      ) : (
        <AttemptsOf id={id} change={change} tasks={tasks} />
      )}
      {task !== undefined && <TaskDetail execution={execution} task={task} acts={acts} />}
    </section>
  );
});

interface EngineHealth {
  readonly issues: readonly { readonly code: string; readonly message: string }[];
  readonly predicted_end: Readonly<Record<'low' | 'expected' | 'high', string>> | null;
}

/** How often the health is read while nothing happens, in milliseconds. */
const HEALTH_EVERY = 5_000;

/** What is in the way of a running execution, and when it will end. */
function Health({ id, change }: Pick<RunProps, 'id' | 'change'>): ReactElement | null {
  const slower = useThrottled(change, HEALTH_EVERY);
  const found = useKept(
    useAsked<EngineHealth>(
      `health ${id} ${slower}`,
      (signal) => askJson(`/api/executions/${id}/health`, signal),
      HEALTH_EVERY,
    ),
  );
  if (found === undefined || (found.issues.length === 0 && found.predicted_end === null)) return null;
  const { issues, predicted_end: end } = found;
  const at = (text: string) => <Time at={Date.parse(text)} />;
  return (
    <ul className="engine__issues" aria-label="In its way">
      {issues.map(({ code, message }) => (
        <li key={message} data-code={code}>
          <Icon name="warning" />
          {message}
        </li>
      ))}
      {end !== null && (
        <li>
          ≈ by its critical path it ends at {at(end.expected)} ({at(end.low)} – {at(end.high)})
        </li>
      )}
    </ul>
  );
}

type RunControlsProps = { readonly execution: RunExecution } & ReturnType<typeof useAct>;

function RunControls({ execution, act, busy }: RunControlsProps): ReactElement {
  const { execution_id, status, pause_reason, budget, spent, tasks } = execution;
  // A budget that is spent already is refused, and one task may have cost more than all of it.
  const raised = 2 * Math.max(budget ?? 0, spent);
  const path = `/api/executions/${execution_id}`;
  const change = (verb: string, body: unknown) => act(() => sendJson('POST', `${path}/${verb}`, body));
  const button = (label: string, onClick: () => unknown) => (
    <button type="button" className="rc-button rc-button--small" disabled={busy} onClick={() => void onClick()}>
      {label}
    </button>
  );
  return (
    <>
      {status === 'running' && tasks.running > 0 && button('Pause at once', () => change('pause', { mode: 'stop' }))}
      {status === 'paused' &&
        pause_reason === 'budget' &&
        budget !== null &&
        button(`Resume with ${measured(raised)}`, () => change('resume', { budget: raised }))}
      {(status === 'failed' || status === 'cancelled') &&
        button('Run the rest again', () =>
          act(async () => go(`/e/${(await sendJson<Started>('POST', `${path}/fork`, {})).execution_id}`)),
        )}
    </>
  );
}

/** The latest events of attempts that are read. */
const EVENTS = 1_000;

function AttemptsOf({ id, change, tasks }: Pick<RunProps, 'id' | 'change' | 'tasks'>): ReactElement {
  const now = useNow(1_000);
  const query = `event_type=${ATTEMPT_EVENTS}&limit=${EVENTS}`;
  const found = useKept(
    useAsked<{ readonly logs: readonly LogRow[] }>(`attempts ${id} ${change}`, (signal) =>
      askJson(`/api/agents/executions/${id}/logs?${query}`, signal),
    ),
  );
  return <Attempts tasks={tasks} log={found?.logs ?? []} now={now} />;
}
