'use client';
/**
 * All of one execution: what became of it, how far it is, its stages, its agents on their lanes, its log, and every moment of its
 * past. While it is not connected the data itself looks stale: its clocks stand, and what writes is off.
 */
import { type ReactElement, type ReactNode, useEffect, useRef, useState } from 'react';
import { useNow, useWebSocketConnection } from '../connection.js';
import { useProgressTracking, useReplay } from '../execution.js';
import { useAnnounced } from './announcer.js';
import { ExecutionError } from './execution-error.js';
import { ExecutionHeader } from './execution-header.js';
import { ExecutionTabs } from './execution-tabs.js';
import type { ExecutionView } from './execution-view.js';
import { classes } from './format.js';
import { ProgressBar } from './progress.js';
import { ProofStrip } from './proof.js';
import type { ScrubberMark } from './scrubber.js';
import { Scrubber } from './scrubber.js';
import { StageIndicator, stagesOf } from './stages.js';
import { Time } from './time.js';
import { AgentTimeline, type TimeRange } from './timeline.js';

export type ExecutionPart = 'header' | 'progress' | 'error' | 'agents' | 'scrubber' | 'tabs' | 'proof';

const PARTS: readonly ExecutionPart[] = ['header', 'progress', 'error', 'agents', 'scrubber', 'tabs', 'proof'];

export interface ExecutionDashboardProps {
  readonly executionId: string;
  /** What it is called; its id by default. */
  readonly title?: string | undefined;
  /** Shows a way back. */
  readonly onClose?: (() => void) | undefined;
  /** Which parts are shown; all by default. */
  readonly parts?: readonly ExecutionPart[] | undefined;
  /** Kept by the component if it is not given. */
  readonly view?: ExecutionView | undefined;
  readonly onView?: ((view: ExecutionView) => void) | undefined;
  /** Where errors and changes of the stage are, for the scrubber. */
  readonly marks?: readonly ScrubberMark[] | undefined;
  /** The address of a moment, for its link. */
  readonly linkOf?: ((seq: number) => string) | undefined;
  /** In place of everything, when the execution cannot be read. */
  readonly failed?: ((error: { readonly code: string; readonly message: string }) => ReactNode) | undefined;
  /** Shown below the agents, but not with a moment of the past: it is of now. */
  readonly children?: ReactNode;
  readonly className?: string | undefined;
}

export function ExecutionDashboard(props: ExecutionDashboardProps): ReactElement {
  const { executionId: id, title, onClose, parts = PARTS, marks, linkOf, failed, children, className } = props;
  const [kept, setKept] = useState<ExecutionView>({});
  const view = props.view ?? kept;
  const setView = (change: ExecutionView) => {
    const next = { ...view, ...change };
    setKept(next);
    props.onView?.(next);
  };
  const [range, setRange] = useState<TimeRange | null>(null);
  const [selected, setSelected] = useState<string | null>(null);
  const live = useProgressTracking(id);
  const replay = useReplay(id);
  const connection = useWebSocketConnection();
  const ticking = useNow(1_000);
  const { seek: rewind } = replay;
  const moment = useRef(view.at); // the one that the page was opened with: later ones come from here
  useEffect(() => {
    if (moment.current !== undefined) rewind(moment.current);
  }, [rewind]);
  const lost = live.status === 'stale';
  useAnnounced(lost ? 'Connection lost' : live.status === 'live' ? 'Connected' : null, lost);
  const { progress: latest } = live.data ?? {};
  const ended = latest !== undefined && latest.endedAt !== null;
  useAnnounced(latest === undefined ? null : ended ? `Execution ${latest.status}` : null, true);
  useAnnounced(latest?.stage ? `Stage ${latest.stage.name ?? latest.stage.number}, ${latest.percent} percent` : null);
  useAnnounced(latest?.error ? `Failed: ${latest.error.message}` : null, true);

  const tracking = replay.edge ? live.data : (replay.tracking ?? live.data);
  const shows = (part: ExecutionPart) => parts.includes(part);
  // By its key it is the same one before and after there is something to show: it counts from the first event on.
  const proof = shows('proof') && <ProofStrip key="proof" channel={`execution:${id}`} />;
  const old = live.status === 'stale' || live.status === 'failed';
  const state = old ? live.status : replay.edge ? live.status : 'past';
  if (tracking === undefined) {
    return (
      <article
        className={classes('rc-execution', className)}
        data-state={live.status}
        aria-busy={live.status === 'loading'}
      >
        {live.status === 'failed' ? (
          (failed?.(live.error) ?? <p className="rc-note">{live.error.message}</p>)
        ) : (
          <Skeleton live={live} />
        )}
        {live.status !== 'failed' && proof}
      </article>
    );
  }
  // The clocks of a moment of the past show that moment; those of stale data stand at the time of the data.
  const now = state === 'live' ? ticking : state === 'past' ? replay.at : live.status === 'stale' ? live.asOf : null;
  const { progress, steps, agents } = tracking;
  const stages = stagesOf(progress, steps);
  const seek = (seq: number) => {
    replay.seek(seq);
    setView({ at: seq });
  };
  return (
    <article className={classes('rc-execution', className)} data-state={state} data-status={progress.status}>
      {shows('header') && (
        <ExecutionHeader
          id={id}
          title={title}
          tracking={tracking}
          now={now}
          onClose={onClose}
          writable={state === 'live' && connection.state === 'connected'}
        />
      )}
      {live.status === 'stale' && (
        <p className="rc-stale" role="note">
          As of <Time at={live.asOf} />: {live.error?.message ?? 'not connected'}. What follows may have changed since.
        </p>
      )}
      {live.status === 'failed' && (
        <p className="rc-stale" role="note">
          Not readable any more: {live.error.message}. What follows may have changed since.{' '}
          <button type="button" className="rc-button rc-button--small" onClick={connection.reconnect}>
            Try again
          </button>
        </p>
      )}
      {shows('progress') && (
        <section className="rc-execution__progress" aria-label="Progress">
          {stages.length > 0 && (
            <StageIndicator
              stages={stages}
              current={progress.stage?.number ?? null}
              done={progress.status === 'completed'}
              failed={progress.status === 'failed'}
            />
          )}
          <ProgressBar progress={progress} state={live.status} />
        </section>
      )}
      {shows('error') && progress.error !== null && (
        <ExecutionError
          channel={`execution:${id}`}
          error={progress.error}
          steps={steps}
          onShowInLog={(row) => setView({ tab: 'log', row })}
        />
      )}
      {shows('agents') && agents.length > 0 && (
        <section className="rc-execution__agents" aria-label="Agents">
          <AgentTimeline
            agents={agents}
            steps={steps}
            now={now}
            range={range}
            onRange={setRange}
            selected={selected}
            onSelect={setSelected}
          />
        </section>
      )}
      {replay.edge && children}
      {shows('scrubber') && (
        <Scrubber
          head={replay.head}
          seq={replay.edge ? replay.head : replay.seq}
          at={replay.at}
          edge={replay.edge}
          marks={marks}
          playing={replay.playing}
          speed={replay.speed}
          onSeek={seek}
          onPlay={replay.play}
          onPause={replay.pause}
          onLive={() => {
            replay.live();
            setView({ at: undefined });
          }}
        />
      )}
      {shows('tabs') && (
        <ExecutionTabs
          id={id}
          tracking={tracking}
          now={now}
          view={view}
          moment={replay.edge ? undefined : replay.seq}
          onView={setView}
          selected={selected}
          linkOf={linkOf}
        />
      )}
      {proof}
    </article>
  );
}

function Skeleton({
  live,
}: {
  readonly live: { readonly status: string; readonly read?: number; readonly total?: number | null };
}): ReactElement {
  const { read = 0, total = null } = live;
  return (
    <div className="rc-skeleton">
      <span className="rc-hidden">reading</span>
      <div className="rc-skeleton__line" />
      <div className="rc-skeleton__bar" />
      <div className="rc-skeleton__block" />
      {read > 0 && (
        <p className="rc-note">{`reading ${read.toLocaleString('en')}${total === null ? '' : ` of ${total.toLocaleString('en')}`}`}</p>
      )}
    </div>
  );
}
