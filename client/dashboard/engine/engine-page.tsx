/** The engine of the gateway: workers alive, what has failed for good, and a form that starts an execution. */
import { type ReactElement, type ReactNode, useEffect } from 'react';
import { useNow } from '../../react/index.js';
import { cut, roughly } from '../../react/ui/format.js';
import { Time } from '../../react/ui/index.js';
import { askJson, sendJson } from '../access.js';
import { Link } from '../link.js';
import { go } from '../places.js';
import { Refused } from '../refused.js';
import { useAsked } from '../use-asked.js';
import { useVenture } from '../venture.js';
import { type Started, useAct } from './engine-api.js';
import { StartForm } from './start-form.js';

/** How often the lists are read, in milliseconds. */
const EVERY = 3_000;

interface Worker {
  readonly worker_id: string;
  readonly agent_types: readonly string[];
  readonly slots: number | null;
  readonly alive: boolean;
  readonly seen_at: string;
}

interface DeadLetter {
  readonly task_id: string;
  readonly execution_id: string;
  readonly name: string;
  readonly agent_type: string;
  readonly error: { readonly message?: string; readonly class?: string } | null;
  readonly ended_at: string;
}

export function EnginePage({ query }: { readonly query: URLSearchParams }): ReactElement {
  const [venture] = useVenture(query);
  useEffect(() => {
    document.title = 'Engine · Rowcast';
  }, []);
  return (
    <section className="page">
      <header className="page__header">
        <h1 className="page__title">Engine</h1>
        <span className="page__aside">venture {venture}</span>
      </header>
      <div className="cards cards--wide">
        <Card title="Workers">
          <Workers />
        </Card>
        <Card title="Start an execution">
          <StartForm venture={venture} />
        </Card>
      </div>
      <Card title="Dead letters">
        <DeadLetters venture={venture} />
      </Card>
    </section>
  );
}

export function Card({ title, children }: { readonly title: string; readonly children: ReactNode }): ReactElement {
  return (
    <section className="card">
      <h2 className="card__title">{title}</h2>
      {children}
    </section>
  );
}

function Workers(): ReactElement {
  const now = useNow(1_000);
  const path = '/api/agents/workers';
  const { data, error } = useAsked<{ readonly workers: readonly Worker[] }>(path, (s) => askJson(path, s), EVERY);
  if (data === undefined) return error === null ? <Reading /> : <Refused error={error} what="list of workers" />;
  if (data.workers.length === 0) return <p className="rc-panel__note">No worker has asked for tasks today.</p>;
  return (
    <Table head={['State', 'Worker', 'Agents', 'Slots', 'Seen']}>
      {data.workers.map(({ worker_id, agent_types, slots, alive, seen_at }) => (
        <tr key={worker_id}>
          <td>
            <span className="checks__check" data-state={alive ? 'ok' : 'failed'}>
              <span className="checks__dot" aria-hidden="true" />
              {alive ? 'alive' : 'gone'}
            </span>
          </td>
          <td>{cut(worker_id, 60)}</td>
          <td>{cut(agent_types.join(', '), 200)}</td>
          <td>{slots ?? '–'}</td>
          <td>{roughly(now - Date.parse(seen_at))} ago</td>
        </tr>
      ))}
    </Table>
  );
}

function DeadLetters({ venture }: { readonly venture: string }): ReactElement {
  const path = `/api/agents/dead-letters?venture_id=${encodeURIComponent(venture)}`;
  const { data, error } = useAsked<{ readonly dead_letters: readonly DeadLetter[] }>(
    path,
    (signal) => askJson(path, signal),
    EVERY,
  );
  const { act, busy, error: refused } = useAct();
  if (data === undefined) return error === null ? <Reading /> : <Refused error={error} what="list of failed tasks" />;
  if (data.dead_letters.length === 0) return <p className="rc-panel__note">No task has failed for good.</p>;
  const fork = (id: string) =>
    act(async () => go(`/e/${(await sendJson<Started>('POST', `/api/executions/${id}/fork`, {})).execution_id}`));
  return (
    <>
      {refused !== null && (
        <p className="engine__error" role="alert">
          {refused.message}
        </p>
      )}
      <Table head={['Failed', 'Task', 'Agent', 'Error', 'Again']}>
        {data.dead_letters.map(({ task_id, execution_id, name, agent_type, error, ended_at }) => (
          <tr key={task_id}>
            <td>
              <Time at={Date.parse(ended_at)} />
            </td>
            <td>
              <Link to={`/e/${execution_id}`}>{cut(name, 80)}</Link>
            </td>
            <td>{cut(agent_type, 40)}</td>
            <td>{cut(error?.message ?? error?.class ?? '–', 200)}</td>
            <td>
              <button
                type="button"
                className="rc-button rc-button--small"
                disabled={busy}
                aria-label={`Run again: ${name}`}
                onClick={() => void fork(execution_id)}
              >
                Run again
              </button>
            </td>
          </tr>
        ))}
      </Table>
    </>
  );
}

export function Table({
  head,
  children,
}: {
  readonly head: readonly string[];
  readonly children: ReactNode;
}): ReactElement {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls, and the keyboard must reach that
    <section className="engine__scroll" aria-label={head.join(', ')} tabIndex={0}>
      <table className="rc-table">
        <thead>
          <tr>
            {head.map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </section>
  );
}

export function Reading(): ReactElement {
  return <p className="rc-panel__note">reading…</p>;
}
