'use client';
import { type KeyboardEvent, type ReactElement, useId, useState } from 'react';
import type { LogFilter, Tracking } from '../../store/index.js';
import { useLog } from '../channel.js';
import { type ExecutionTab, type ExecutionView, TABS } from './execution-view.js';
import { whole } from './format.js';
import { HealthGauge } from './health.js';
import { Icon } from './icon.js';
import { LogFilters } from './log-filters.js';
import { LogView } from './log-view.js';
import { MetricChart } from './metric-chart.js';
import { StepsTable } from './steps-table.js';

const NAMES: Readonly<Record<ExecutionTab, string>> = {
  log: 'Log',
  steps: 'Steps',
  metrics: 'Metrics',
  errors: 'Errors',
  health: 'Health',
  raw: 'Raw',
};

export interface ExecutionTabsProps {
  readonly id: string;
  readonly tracking: Tracking;
  readonly now: number | null;
  readonly view: ExecutionView;
  /** The seq of the moment that is shown; undefined: now. */
  readonly moment: number | undefined;
  readonly onView: (view: ExecutionView) => void;
  readonly selected: string | null;
  readonly linkOf?: ((seq: number) => string) | undefined;
}

export function ExecutionTabs(props: ExecutionTabsProps): ReactElement {
  const { id, tracking, now, view, moment, onView, selected, linkOf } = props;
  const { tab = 'log' } = view;
  const name = useId();
  const { steps, metrics, health, agents, progress } = tracking;
  const counts: Partial<Record<ExecutionTab, number>> = {
    steps: steps.length,
    metrics: metrics.length,
    errors: progress.steps.failed,
  };
  const onKeyDown = ({ key, currentTarget }: KeyboardEvent<HTMLDivElement>) => {
    const by = key === 'ArrowRight' ? 1 : key === 'ArrowLeft' ? -1 : 0;
    const next = TABS[(TABS.indexOf(tab) + by + TABS.length) % TABS.length] ?? 'log';
    if (by === 0) return;
    onView({ tab: next });
    currentTarget.querySelector<HTMLElement>(`[data-tab="${next}"]`)?.focus();
  };
  const channel = `execution:${id}`;
  return (
    <section className="rc-tabs" aria-label="Details">
      <div className="rc-tabs__list" role="tablist" aria-label="Details" onKeyDown={onKeyDown}>
        {TABS.map((each) => (
          <button
            key={each}
            id={`${name}-${each}`}
            type="button"
            role="tab"
            className="rc-tabs__tab"
            data-tab={each}
            aria-selected={each === tab}
            aria-controls={`${name}-panel`}
            tabIndex={each === tab ? 0 : -1}
            onClick={() => onView({ tab: each })}
          >
            {NAMES[each]}
            {(counts[each] ?? 0) > 0 && <span className="rc-tabs__count">{whole(counts[each] ?? 0)}</span>}
          </button>
        ))}
      </div>
      {linkOf !== undefined && <CopyLink address={linkOf(view.row ?? moment ?? progress.seq)} />}
      <div id={`${name}-panel`} className="rc-tabs__panel" role="tabpanel" aria-labelledby={`${name}-${tab}`}>
        {tab === 'log' && (
          <LogPanel
            channel={channel}
            view={view}
            moment={moment}
            opensAt={progress.status === 'failed' ? steps.find(({ status }) => status === 'failed')?.seq : undefined}
            onView={onView}
            agents={agents.map(({ name }) => name)}
          />
        )}
        {tab === 'errors' && <ErrorPanel channel={channel} view={view} onView={onView} />}
        {tab === 'raw' && <RawPanel channel={channel} view={view} onView={onView} />}
        {tab === 'steps' && (
          <StepsTable steps={steps} now={now} selected={selected} onShowInLog={(row) => onView({ tab: 'log', row })} />
        )}
        {tab === 'health' && <HealthGauge health={health} />}
        {tab === 'metrics' && (
          <div className="rc-charts">
            {metrics.map((series) => (
              <MetricChart key={series.name} series={series} />
            ))}
            {metrics.length === 0 && <p className="rc-panel__note">No metric was recorded yet.</p>}
          </div>
        )}
      </div>
    </section>
  );
}

/** Copies the address of a moment. Where a page may not, the address is in the address bar as well. */
function CopyLink({ address }: { readonly address: string }): ReactElement {
  const [copied, setCopied] = useState(false);
  const copy = () =>
    navigator.clipboard
      ?.writeText(address)
      .then(() => setCopied(true))
      .catch(() => setCopied(false));
  return (
    <button
      type="button"
      className="rc-button rc-button--small rc-tabs__link"
      onClick={() => void copy()}
      onBlur={() => setCopied(false)}
    >
      <Icon name="link" />
      {copied ? 'Copied' : 'Copy link to this moment'}
    </button>
  );
}

interface LogPanelProps {
  readonly channel: string;
  readonly view: ExecutionView;
  readonly moment?: number | undefined;
  /** The row that is marked at first, where the view says none: the first error of an execution that has failed. */
  readonly opensAt?: number | undefined;
  readonly onView: (view: ExecutionView) => void;
  readonly agents?: readonly string[];
}

function LogPanel({ channel, view, moment, opensAt, onView, agents = [] }: LogPanelProps): ReactElement {
  const { q, level, agent, row } = view;
  const filter: LogFilter = {
    q,
    level: level === undefined ? undefined : [level],
    agent: agent === undefined ? undefined : [agent],
  };
  const log = useLog(channel, filter);
  const [opened, setOpened] = useState(row ?? opensAt);
  const [follow, setFollow] = useState(opened === undefined);
  return (
    <LogView
      log={log}
      label="Log"
      until={moment}
      follow={follow}
      onFollow={setFollow}
      at={row ?? opened ?? null}
      onAt={(seq) => {
        setOpened(undefined);
        onView({ row: seq ?? undefined });
      }}
    >
      <LogFilters
        log={log}
        filter={filter}
        agents={agents}
        onFilter={(next) => onView({ q: next.q, level: next.level?.[0], agent: next.agent?.[0] })}
      />
    </LogView>
  );
}

const ERRORS: LogFilter = { level: ['error'] };

function ErrorPanel({ channel, view, onView }: LogPanelProps): ReactElement {
  const log = useLog(channel, ERRORS);
  if (log.length === 0 && log.status !== 'loading') return <p className="rc-panel__note">No error was written.</p>;
  return <LogView log={log} label="Errors" at={view.row ?? null} onAt={(row) => onView({ row: row ?? undefined })} />;
}

function RawPanel({ channel, view, onView }: LogPanelProps): ReactElement {
  const log = useLog(channel);
  return (
    <LogView
      log={log}
      label="Raw events"
      at={view.row ?? null}
      onAt={(row) => onView({ row: row ?? undefined })}
      renderRow={({ row }) => <code>{JSON.stringify(row).slice(0, 2_000)}</code>}
    />
  );
}
