'use client';
import type { ReactElement } from 'react';
import type { AgentView } from '../../store/index.js';
import { classes, duration, whole } from './format.js';
import { Icon, type IconName } from './icon.js';
import { QuietFor } from './quiet.js';

const ICONS: Readonly<Record<AgentView['state'], IconName>> = {
  idle: 'pending',
  running: 'running',
  complete: 'completed',
  error: 'failed',
};

export interface AgentBadgeProps {
  readonly agent: AgentView;
  /** The time, in milliseconds since 1970, for its clock; null: the clock stands. */
  readonly now?: number | null | undefined;
  readonly className?: string | undefined;
}

/** One agent: what it does, for how long, and for how long it has been silent. */
export function AgentBadge({ agent, now = null, className }: AgentBadgeProps): ReactElement {
  const { name, state, step, runningSince, done, failed, quiet } = agent;
  return (
    <div className={classes('rc-agent', className)} data-state={state}>
      <span className="rc-agent__name">
        <Icon name={ICONS[state]} />
        {name}
      </span>
      <span className="rc-agent__state">
        {state}
        {state === 'running' && runningSince !== null && now !== null && (
          <span className="rc-agent__clock" role="timer" aria-live="off">
            {' '}
            {duration(now - runningSince)}
          </span>
        )}
      </span>
      <span className="rc-agent__step">{step?.name ?? 'no step yet'}</span>
      <span className="rc-agent__counts">
        {whole(done)} done{failed > 0 && ` · ${whole(failed)} failed`}
      </span>
      {state === 'running' && <QuietFor quiet={quiet} now={now} />}
    </div>
  );
}
