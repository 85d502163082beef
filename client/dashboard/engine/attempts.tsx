/** Every attempt at every task on the line of the task, side by side over time. */
import type { CSSProperties, ReactElement } from 'react';
import { cut, duration } from '../../react/ui/format.js';
import { Time } from '../../react/ui/index.js';
import type { Task } from './engine-api.js';

export interface LogRow {
  readonly seq: number;
  readonly event_type: string;
  readonly created_at: string;
  readonly context: { readonly step_id?: string; readonly attempt?: number; readonly error?: unknown } | null;
}

/** The events between which an attempt runs. */
export const ATTEMPT_EVENTS =
  'task-assigned,task-completed,task-retrying,task-failed,task-released,task-waiting,task-cancelled';

interface Attempt {
  readonly number: number;
  readonly from: number;
  to: number | null;
  outcome: string;
}

/** The share of the whole time that a bar has at least, in percent. */
const LEAST = 0.5;

const OUTCOMES: Readonly<Record<string, string>> = {
  'task-completed': 'completed',
  'task-retrying': 'failed',
  'task-failed': 'failed',
  'task-released': 'released',
  'task-waiting': 'waiting',
  'task-cancelled': 'cancelled',
};

interface AttemptsProps {
  readonly tasks: readonly Task[];
  readonly log: readonly LogRow[];
  readonly now: number;
}

export function Attempts({ tasks, log, now }: AttemptsProps): ReactElement {
  const attempts = attemptsOf(log);
  const all = [...attempts.values()].flat();
  if (all.length === 0) return <p className="rc-panel__note">No task has begun yet.</p>;
  const begin = Math.min(...all.map(({ from }) => from));
  const end = Math.max(begin + 1, ...all.map(({ to }) => to ?? now));
  const share = (time: number) => ((time - begin) / (end - begin)) * 100;
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach that
    <section className="attempts" aria-label="Attempts" tabIndex={0}>
      <table className="attempts__table">
        <caption className="attempts__span">
          <Time at={begin} /> to <Time at={end} />
        </caption>
        <tbody>
          {tasks.map(({ task_id, name }) => {
            const own = attempts.get(task_id) ?? [];
            return (
              own.length > 0 && (
                <tr key={task_id}>
                  <th scope="row">{cut(name, 60)}</th>
                  <td>
                    {own.map(({ number, from, to, outcome }, index) => (
                      <span
                        key={index}
                        className="attempts__bar"
                        data-state={outcome}
                        title={`attempt ${number}: ${outcome}, ${duration((to ?? now) - from)}`}
                        style={
                          {
                            insetInlineStart: `${share(from)}%`,
                            inlineSize: `${Math.max(LEAST, share(to ?? now) - share(from))}%`,
                          } as CSSProperties
                        }
                      >
                        <span className="rc-hidden">
                          attempt {number} {outcome}, {duration((to ?? now) - from)}.
                        </span>
                        <span aria-hidden="true">{own.length > 1 && number}</span>
                      </span>
                    ))}
                  </td>
                </tr>
              )
            );
          })}
        </tbody>
      </table>
    </section>
  );
}

/** By task, from the log in either order. An attempt that is given back begins again with the same number. */
function attemptsOf(log: readonly LogRow[]): Map<string, Attempt[]> {
  const found = new Map<string, Attempt[]>();
  for (const { event_type, created_at, context } of log.toSorted((a, b) => a.seq - b.seq)) {
    const id = context?.step_id ?? '';
    const own = found.get(id) ?? [];
    found.set(id, own);
    const at = Date.parse(created_at);
    const last = own.at(-1);
    if (event_type === 'task-assigned') {
      own.push({ number: context?.attempt ?? 1, from: at, to: null, outcome: 'running' });
    } else if (last?.to === null) {
      last.to = at;
      last.outcome = OUTCOMES[event_type] ?? event_type;
    }
  }
  return found;
}
