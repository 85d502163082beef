'use client';
/**
 * The steps of each agent on its lane, as bars over time. Only the bars in the visible range are in the document. The same is
 * in the table of steps, which is where a screen reader finds it.
 */
import type { CSSProperties, ReactElement } from 'react';
import type { StepRecord } from '../../progress/index.js';
import type { AgentView } from '../../store/index.js';
import { AgentBadge } from './agents.js';
import { attemptsOf } from './attempts.js';
import { classes, duration } from './format.js';
import { Time } from './time.js';

/** Bars of one lane: the latest. */
const MAX_BARS = 300;
/** The share of the range that a bar has at least. */
const LEAST = 0.4;
const TICKS = 5;

export interface TimeRange {
  /** Milliseconds since 1970. */
  readonly from: number;
  readonly to: number;
}

export interface AgentTimelineProps {
  readonly agents: readonly AgentView[];
  readonly steps: readonly StepRecord[];
  /** The time, in milliseconds since 1970; null: the clocks stand. */
  readonly now: number | null;
  /** What is shown; all of it by default. */
  readonly range?: TimeRange | null | undefined;
  readonly onRange?: ((range: TimeRange | null) => void) | undefined;
  readonly selected?: string | null | undefined;
  readonly onSelect?: ((stepId: string) => void) | undefined;
  readonly className?: string | undefined;
}

export function AgentTimeline(props: AgentTimelineProps): ReactElement {
  const { agents, steps, now, range = null, onRange, selected = null, onSelect, className } = props;
  const timed = steps.flatMap((step) => timesOf(step, now));
  const all = {
    from: Math.min(...timed.map(({ from }) => from), now ?? Number.POSITIVE_INFINITY),
    to: Math.max(...timed.map(({ to }) => to)),
  };
  // In steps, so that the bars do not move with every second.
  const running = timed.some(({ step }) => step.status === 'running');
  const shown = range ?? (running ? { from: all.from, to: all.from + stepAbove(all.to - all.from) } : all);
  const span = Math.max(1, shown.to - shown.from);
  const zoom = (by: number) => {
    const middle = (shown.from + shown.to) / 2;
    onRange?.({ from: middle - (span * by) / 2, to: middle + (span * by) / 2 });
  };
  const move = (by: number) => onRange?.({ from: shown.from + span * by, to: shown.to + span * by });
  const empty = !Number.isFinite(span) || timed.length === 0;
  return (
    <div className={classes('rc-timeline', className)} data-state={empty ? 'empty' : 'filled'}>
      {agents.map((agent) => (
        <div key={agent.name} className="rc-timeline__lane" data-state={agent.state}>
          <AgentBadge agent={agent} now={now} />
          <div className="rc-timeline__bars" aria-hidden="true">
            {timed
              .filter(({ step, from, to }) => step.agent === agent.name && to >= shown.from && from <= shown.to)
              .slice(-MAX_BARS)
              .map(({ step, status, attempt, from, to }) => (
                // The bars repeat the table of steps: a pointer may use them, nothing depends on them.
                <button
                  key={`${step.id} ${attempt}`}
                  type="button"
                  tabIndex={-1}
                  className="rc-timeline__bar"
                  data-state={status}
                  data-selected={step.id === selected}
                  title={`${nameOf(step, attempt)} · ${status} · ${duration(to - from)}`}
                  onClick={() => onSelect?.(step.id)}
                  style={
                    {
                      '--at': (from - shown.from) / span,
                      inlineSize: `${Math.max(LEAST, ((to - from) / span) * 100)}%`,
                    } as CSSProperties
                  }
                >
                  <span className="rc-timeline__name">{nameOf(step, attempt)}</span>
                </button>
              ))}
          </div>
        </div>
      ))}
      {!empty && (
        <div className="rc-timeline__axis">
          <div className="rc-timeline__zoom">
            {onRange !== undefined && (
              <>
                <button
                  type="button"
                  className="rc-button rc-button--small"
                  disabled={range === null}
                  onClick={() => onRange(null)}
                >
                  Fit
                </button>
                <button
                  type="button"
                  className="rc-button rc-button--small"
                  aria-label="Zoom in"
                  onClick={() => zoom(0.5)}
                >
                  +
                </button>
                <button
                  type="button"
                  className="rc-button rc-button--small"
                  aria-label="Zoom out"
                  onClick={() => zoom(2)}
                >
                  −
                </button>
                <button
                  type="button"
                  className="rc-button rc-button--small"
                  aria-label="Earlier"
                  onClick={() => move(-0.25)}
                >
                  ‹
                </button>
                <button
                  type="button"
                  className="rc-button rc-button--small"
                  aria-label="Later"
                  onClick={() => move(0.25)}
                >
                  ›
                </button>
              </>
            )}
          </div>
          <div className="rc-timeline__ticks" aria-hidden="true">
            {Array.from({ length: TICKS }, (_, tick) => (
              <span key={tick} className="rc-timeline__tick">
                <Time at={shown.from + (span * tick) / (TICKS - 1)} />
              </span>
            ))}
          </div>
        </div>
      )}
    </div>
  );
}

/** The least of 1, 2, 5, 10, 20 and so on seconds that is not below a duration. */
function stepAbove(milliseconds: number): number {
  const power = 10 ** Math.floor(Math.log10(Math.max(1_000, milliseconds)));
  return ([1, 2, 5].find((factor) => factor * power >= milliseconds) ?? 10) * power;
}

interface Timed {
  readonly step: StepRecord;
  readonly status: StepRecord['status'];
  /** 1 is the first. */
  readonly attempt: number;
  readonly from: number;
  readonly to: number;
}

const nameOf = ({ name, earlier }: StepRecord, attempt: number) =>
  earlier === undefined ? name : `${name} #${attempt}`;

/** The attempts of a step. One that runs reaches up to now; one without a beginning has none to draw. */
function timesOf(step: StepRecord, now: number | null): Timed[] {
  return attemptsOf(step).flatMap(({ number, status, startedAt, endedAt, durationMs }) => {
    const from = startedAt ?? (endedAt !== null && durationMs !== null ? endedAt - durationMs : endedAt);
    if (from === null) return [];
    const to = endedAt ?? (status === 'running' ? (now ?? from) : from);
    return [{ step, status, attempt: number, from, to: Math.max(from, to) }];
  });
}
