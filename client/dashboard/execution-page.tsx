import { type ReactElement, useEffect } from 'react';
import { useProgressTracking, useReplay } from '../react/index.js';
import { ExecutionDashboard, type ExecutionView, type ScrubberMark } from '../react/ui/index.js';
import { askJson } from './access.js';
import { HAS_ENGINE } from './engine/engine-api.js';
import { EnginePart } from './engine/engine-part.js';
import { go, setQuery, urlOf } from './places.js';
import { Refused } from './refused.js';
import { useShortcuts } from './shortcuts.js';
import { titleOf } from './title.js';
import { useAsked } from './use-asked.js';

const TABS = ['log', 'steps', 'metrics', 'errors', 'health', 'raw'] as const;

/** Event types that the scrubber marks. */
const MARKED = 'stage-changed,task-failed,execution-failed,error';

interface Snapshot {
  readonly position: string;
  readonly execution: { readonly metadata: unknown };
}

interface Found {
  readonly logs: readonly { readonly seq: number; readonly event_type: string }[];
}

interface ExecutionPageProps {
  readonly id: string;
  readonly query: URLSearchParams;
}

export function ExecutionPage({ id, query }: ExecutionPageProps): ReactElement {
  const path = `/api/agents/executions/${encodeURIComponent(id)}`;
  const { data: snapshot } = useAsked<Snapshot>(id, (signal) => askJson(`${path}?logs=none`, signal));
  const standing = useProgressTracking(
    id,
    ({ progress }) => `${progress.stage?.number} ${progress.steps.failed} ${progress.status}`,
  );
  const { data: found } = useAsked<Found>(`${id} ${standing.data}`, (signal) =>
    askJson(`${path}/logs?event_type=${MARKED}&limit=200`, signal),
  );
  const marks: ScrubberMark[] = (found?.logs ?? []).map(({ seq, event_type }) => ({
    seq,
    kind: event_type === 'stage-changed' ? 'stage' : 'error',
  }));
  const epoch = snapshot?.position.split('.')[0];
  const asked = query.get('at');
  const [askedEpoch, askedSeq] = asked?.split('.') ?? [];
  const renumbered = askedEpoch !== undefined && epoch !== undefined && askedEpoch !== epoch;
  const view: ExecutionView = {
    tab: TABS.find((tab) => tab === query.get('tab')),
    q: query.get('q') ?? undefined,
    level: query.get('level') ?? undefined,
    agent: query.get('agent') ?? undefined,
    at: renumbered ? undefined : seqIn(askedSeq),
    row: seqIn(query.get('row')),
  };
  const onView = ({ tab, q, level, agent, at, row }: ExecutionView) =>
    setQuery({
      tab: tab === 'log' ? undefined : tab,
      q,
      level,
      agent,
      at: at === undefined ? undefined : `${epoch ?? ''}.${at}`,
      row: row?.toString(),
    });
  const title = snapshot === undefined ? undefined : titleOf(snapshot.execution.metadata);
  useEffect(() => {
    document.title = `${title ?? id.slice(0, 8)} · Rowcast`;
  }, [title, id]);
  useKeys(id, marks, view, onView);
  return (
    <>
      {renumbered && (
        <p className="notice" role="note">
          The log was renumbered since this link was made: the moment that it points to is not known any more.
        </p>
      )}
      <ExecutionDashboard
        executionId={id}
        title={title}
        onClose={() => go('/')}
        view={view}
        onView={onView}
        marks={marks}
        linkOf={(seq) => `${urlOf(`/e/${id}`)}?at=${epoch ?? ''}.${seq}`}
        failed={(error) => <Refused error={error} what="execution" />}
      >
        {HAS_ENGINE && <EnginePart id={id} />}
      </ExecutionDashboard>
    </>
  );
}

function seqIn(text: string | null | undefined): number | undefined {
  const seq = Number(text ?? Number.NaN);
  return Number.isSafeInteger(seq) && seq > 0 ? seq : undefined;
}

function useKeys(
  id: string,
  marks: readonly ScrubberMark[],
  view: ExecutionView,
  onView: (view: ExecutionView) => void,
): void {
  const replay = useReplay(id);
  const error = (forward: boolean) => {
    const errors = marks.filter(({ kind }) => kind === 'error').map(({ seq }) => seq);
    const from = view.row ?? (forward ? 0 : Number.POSITIVE_INFINITY);
    const row = forward
      ? errors.filter((seq) => seq > from).sort((a, b) => a - b)[0]
      : errors.filter((seq) => seq < from).sort((a, b) => b - a)[0];
    if (row !== undefined) onView({ ...view, tab: 'log', row });
  };
  // As the scrubber does, so that the address holds the moment.
  const step = (by: 1 | -1) => {
    replay.step(by);
    onView({ ...view, at: Math.min(Math.max(1, replay.seq + by), replay.head) });
  };
  const click = (name: string) => document.querySelector<HTMLElement>(name)?.click();
  useShortcuts({
    '/': () => document.querySelector<HTMLElement>('.rc-filters input')?.focus(),
    '[': () => step(-1),
    ']': () => step(1),
    l: () => click('.rc-scrubber__live'),
    f: () => click('.rc-log__follow'),
    e: () => error(true),
    E: () => error(false),
  });
}
