/** One task: how it stands, and what an editor can do with it. */
import { type ReactElement, useId, useState } from 'react';
import { cut } from '../../react/ui/format.js';
import { Icon } from '../../react/ui/icon.js';
import { askJson, sendJson } from '../access.js';
import { go } from '../places.js';
import { useAsked } from '../use-asked.js';
import { type Act, type RunExecution, SIGNS, type Started, type Task } from './engine-api.js';

interface TaskDetailProps {
  readonly execution: RunExecution;
  readonly task: Task;
  readonly acts: Act;
}

export function TaskDetail({ execution, task, acts: { act, busy } }: TaskDetailProps): ReactElement {
  const { execution_id, status } = execution;
  const path = `/api/executions/${execution_id}`;
  const of = (verb: string, body: unknown = {}) =>
    act(() => sendJson('POST', `${path}/tasks/${task.task_id}/${verb}`, body));
  const fork = () =>
    act(async () => go(`/e/${(await sendJson<Started>('POST', `${path}/fork`, { from: task.name })).execution_id}`));
  const open = status === 'running' || status === 'paused';
  const ended = !open && status !== 'pending';
  return (
    <section className="task" aria-label={`Task ${task.name}`} data-state={task.status}>
      <h3 className="task__title">{cut(task.name, 120)}</h3>
      <span className="rc-step__status" data-state={task.status === 'completed' ? 'done' : task.status}>
        <Icon name={SIGNS[task.status]} />
        {task.status}
      </span>
      <dl className="task__facts">
        <Fact name={task.kind === 'human' ? 'A person decides' : 'Agent'} value={task.agent_type} />
        <Fact name="Attempt" value={`${task.attempt} of ${task.max_attempts}`} />
        {task.worker !== null && <Fact name="Worker" value={task.worker} />}
        {task.needs.length > 0 && <Fact name="Needs" value={task.needs.join(', ')} />}
        {task.because !== null && <Fact name="Because of" value={task.because} />}
        {task.error !== null && <Fact name="Error" value={`${task.error.message ?? ''} (${task.error.class})`} />}
        {task.status === 'completed' && <Output path={`${path}/tasks/${task.task_id}`} />}
      </dl>
      <div className="task__actions">
        {open && task.status === 'failed' && (
          <>
            <button type="button" className="rc-button" disabled={busy} onClick={() => void of('retry')}>
              <Icon name="retry" />
              Retry
            </button>
            <button type="button" className="rc-button" disabled={busy} onClick={() => void of('skip')}>
              <Icon name="next" />
              Go on without it
            </button>
          </>
        )}
        {status === 'running' && task.status === 'ready' && task.kind === 'human' && (
          <Decision busy={busy} onDecide={(output) => void of('complete', { output })} />
        )}
        {ended && (
          <button type="button" className="rc-button" disabled={busy} onClick={() => void fork()}>
            <Icon name="retry" />
            Run again from here
          </button>
        )}
      </div>
    </section>
  );
}

/** Read for the task that is looked at, because outputs may be large. */
function Output({ path }: { readonly path: string }): ReactElement | null {
  const { data } = useAsked<{ readonly output: unknown }>(path, (signal) => askJson(path, signal));
  if (data === undefined || data.output === null) return null;
  return <Fact name="Output" value={JSON.stringify(data.output)} />;
}

function Fact({ name, value }: { readonly name: string; readonly value: string }): ReactElement {
  return (
    <div className="task__fact">
      <dt>{name}</dt>
      <dd>{cut(value, 600)}</dd>
    </div>
  );
}

/** What a person says is the output of the task. */
function Decision({ busy, onDecide }: { readonly busy: boolean; readonly onDecide: (output: object) => void }) {
  const id = useId();
  const [note, setNote] = useState('');
  const decide = (approved: boolean) => onDecide({ approved, note });
  return (
    <>
      <label htmlFor={id}>Note</label>
      <input id={id} className="rc-input" value={note} onChange={({ target }) => setNote(target.value)} />
      <button type="button" className="rc-button rc-button--primary" disabled={busy} onClick={() => decide(true)}>
        Approve
      </button>
      <button type="button" className="rc-button" disabled={busy} onClick={() => decide(false)}>
        Decline
      </button>
    </>
  );
}
