import { type KeyboardEvent, type ReactElement, useEffect, useId, useRef, useState } from 'react';
import { type ExecutionStatus, STATUSES } from '../progress/index.js';
import { useExecutions, useNow } from '../react/index.js';
import { duration, roughly, whole } from '../react/ui/format.js';
import { Icon } from '../react/ui/icon.js';
import { ProgressBar, StatusBadge, Time } from '../react/ui/index.js';
import type { ExecutionRow } from '../store/index.js';
import { Lesson } from './lesson.js';
import { Link } from './link.js';
import { go, setQuery } from './places.js';
import { Refused } from './refused.js';
import { useShortcuts } from './shortcuts.js';
import { titleOf } from './title.js';
import { useVenture } from './venture.js';

interface ExecutionsPageProps {
  readonly query: URLSearchParams;
}

export function ExecutionsPage({ query }: ExecutionsPageProps): ReactElement {
  const [venture, setVenture] = useVenture(query);
  const status = STATUSES.find((each) => each === query.get('status'));
  const q = query.get('q') ?? '';
  const live = useExecutions(venture, status === undefined ? undefined : { status: [status] });
  const { data, show, more } = live;
  const stale = live.status === 'stale';
  const now = useNow(1_000);
  const search = useRef<HTMLInputElement>(null);
  const rows = (data?.rows ?? []).filter((row) => matches(row, q));
  const id = useId();
  useShortcuts({ '/': () => search.current?.focus() });
  useEffect(() => {
    document.title = 'Executions · Rowcast';
  }, []);
  return (
    <section className="page" data-state={live.status}>
      <header className="page__header">
        <h1 className="page__title">Executions</h1>
        <label className="page__field">
          <span>Venture</span>
          <input
            className="rc-input page__venture"
            key={venture}
            defaultValue={venture}
            spellCheck={false}
            onBlur={({ target }) => setVenture(target.value)}
            onKeyDown={({ key, currentTarget }) => key === 'Enter' && setVenture(currentTarget.value)}
          />
        </label>
        <span className="rc-filters__search page__search">
          <Icon name="search" />
          <label className="rc-hidden" htmlFor={id}>
            Search in the executions shown
          </label>
          <input
            ref={search}
            id={id}
            className="rc-input"
            type="search"
            placeholder="Search name or id"
            value={q}
            onChange={({ target }) => setQuery({ q: target.value })}
          />
        </span>
      </header>
      <Filters status={status} counts={data?.counts ?? null} />
      {stale && (
        <p className="rc-stale" role="note">
          As of <Time at={live.asOf} />: {live.error?.message ?? 'not connected'}. What follows may have changed since.
        </p>
      )}
      {live.status === 'failed' ? (
        <Refused error={live.error} what="venture" />
      ) : data === undefined ? (
        <Loading />
      ) : data.rows.length === 0 && data.waiting === 0 && status === undefined ? (
        <Lesson venture={venture} />
      ) : (
        <>
          <div className="list__waiting">
            {data.waiting > 0 && (
              <button type="button" className="rc-pill" onClick={show}>
                {whole(data.waiting)} new, show
              </button>
            )}
          </div>
          <List rows={rows} now={stale ? null : now} />
          <p className="list__foot">
            {whole(rows.length)} shown{q !== '' && ` of ${whole(data.rows.length)} that were read`} · newest first
            {data.more && (
              <button type="button" className="rc-button rc-button--small" onClick={() => void more()}>
                Show older ones
              </button>
            )}
          </p>
        </>
      )}
    </section>
  );
}

type Counts = Readonly<Record<ExecutionStatus, number>> | null;

function Filters({
  status,
  counts,
}: {
  readonly status: ExecutionStatus | undefined;
  readonly counts: Counts;
}): ReactElement {
  const all = counts === null ? null : Object.values(counts).reduce((sum, count) => sum + count, 0);
  return (
    <nav className="tabs" aria-label="Status">
      <Filter name="all" count={all} on={status === undefined} onClick={() => setQuery({ status: undefined })} />
      {STATUSES.map((each) => (
        <Filter
          key={each}
          name={each}
          count={counts?.[each] ?? null}
          on={status === each}
          onClick={() => setQuery({ status: each })}
        />
      ))}
    </nav>
  );
}

interface FilterProps {
  readonly name: ExecutionStatus | 'all';
  readonly count: number | null;
  readonly on: boolean;
  readonly onClick: () => void;
}

function Filter({ name, count, on, onClick }: FilterProps): ReactElement {
  return (
    <button type="button" className="tabs__tab" aria-pressed={on} data-state={name} onClick={onClick}>
      {name !== 'all' && <Icon name={name} />}
      {name}
      {count !== null && <span className="tabs__count">{whole(count)}</span>}
    </button>
  );
}

function List({ rows, now }: { readonly rows: readonly ExecutionRow[]; readonly now: number | null }): ReactElement {
  const [at, setAt] = useState(0);
  const list = useRef<HTMLTableSectionElement>(null);
  const current = Math.min(at, Math.max(0, rows.length - 1));
  const onKeyDown = (event: KeyboardEvent) => {
    const moves: Readonly<Record<string, number>> = {
      ArrowDown: current + 1,
      ArrowUp: current - 1,
      PageDown: current + 10,
      PageUp: current - 10,
      Home: 0,
      End: rows.length - 1,
    };
    const wanted = moves[event.key];
    if (wanted === undefined) return;
    event.preventDefault();
    const next = Math.min(Math.max(0, wanted), rows.length - 1);
    setAt(next);
    list.current?.querySelectorAll<HTMLElement>('a')[next]?.focus();
  };
  return (
    <div className="list">
      <table className="rc-table list__table">
        <thead>
          <tr>
            <th scope="col">Status</th>
            <th scope="col">Execution</th>
            <th scope="col">Stage</th>
            <th scope="col">Progress</th>
            <th scope="col" className="list__number">
              Failed
            </th>
            <th scope="col" className="list__number">
              Took
            </th>
            <th scope="col" className="list__number">
              Age
            </th>
          </tr>
        </thead>
        <tbody ref={list} onKeyDown={onKeyDown}>
          {rows.map((row, index) => (
            <Line key={row.id} row={row} now={now} focusable={index === current} onFocus={() => setAt(index)} />
          ))}
        </tbody>
      </table>
      {rows.length === 0 && <p className="rc-panel__note">No execution matches.</p>}
    </div>
  );
}

interface LineProps {
  readonly row: ExecutionRow;
  readonly now: number | null;
  readonly focusable: boolean;
  readonly onFocus: () => void;
}

function Line({ row, now, focusable, onFocus }: LineProps): ReactElement {
  const { id, status, stage, percent, steps, metadata, createdAt, updatedAt, startedAt } = row;
  const title = titleOf(metadata);
  const over = status === 'completed' || status === 'failed' || status === 'cancelled';
  const took = startedAt === null ? null : over ? updatedAt - startedAt : now === null ? null : now - startedAt;
  return (
    // The link in the row does the same, and is what the keyboard reaches.
    <tr
      className="list__row"
      data-state={status}
      onClick={({ defaultPrevented }) => !defaultPrevented && go(`/e/${id}`)}
    >
      <td>
        <StatusBadge status={status} />
      </td>
      <td className="list__name">
        <Focusable id={id} focusable={focusable} onFocus={onFocus}>
          {title ?? `Execution ${id.slice(0, 8)}`}
        </Focusable>
        <code className="list__id">{id.slice(0, 8)}</code>
      </td>
      <td className="list__stage">
        {stage === null
          ? '–'
          : `${stage.name ?? stage.number}${stage.of === null ? '' : ` · ${stage.number} of ${stage.of}`}`}
      </td>
      <td className="list__progress">
        <ProgressBar
          label={`Progress of ${title ?? id.slice(0, 8)}`}
          progress={{
            status,
            percent,
            basis: steps.total === null && stage?.of == null ? 'none' : 'steps',
            steps: { ...steps, failed: 0 }, // they have a column of their own
            remaining: null,
          }}
          showRemaining={false}
        />
      </td>
      <td className="list__number" data-some={steps.failed > 0}>
        {steps.failed === 0 ? '–' : whole(steps.failed)}
      </td>
      <td className="list__number">{took === null ? '–' : duration(took)}</td>
      <td className="list__number">{now === null ? '–' : roughly(now - createdAt)}</td>
    </tr>
  );
}

interface FocusableProps {
  readonly id: string;
  readonly focusable: boolean;
  readonly onFocus: () => void;
  readonly children: string;
}

function Focusable({ id, focusable, onFocus, children }: FocusableProps): ReactElement {
  return (
    <span onFocus={onFocus}>
      <Link to={`/e/${id}`} className="list__link" tabIndex={focusable ? 0 : -1}>
        {children}
      </Link>
    </span>
  );
}

function Loading(): ReactElement {
  return (
    <div className="list list--loading" aria-busy="true">
      <span className="rc-hidden">reading</span>
      {Array.from({ length: 8 }, (_, index) => (
        <div key={index} className="list__skeleton" />
      ))}
    </div>
  );
}

function matches({ id, metadata }: ExecutionRow, q: string): boolean {
  const text = q.trim().toLowerCase();
  return text === '' || id.includes(text) || (titleOf(metadata) ?? '').toLowerCase().includes(text);
}
