'use client';
import { type ReactElement, type Ref, useId } from 'react';
import type { LogFilter, LogWindow } from '../../store/index.js';
import { whole } from './format.js';
import { Icon } from './icon.js';

const LEVELS = ['info', 'warning', 'error'] as const;

export interface LogFiltersProps {
  readonly filter: LogFilter;
  readonly onFilter: (filter: LogFilter) => void;
  readonly log: LogWindow;
  readonly agents?: readonly string[] | undefined;
  readonly searchRef?: Ref<HTMLInputElement> | undefined;
}

/** The filters of a log, and how much of it they cover. */
export function LogFilters({ filter, onFilter, log, agents = [], searchRef }: LogFiltersProps): ReactElement {
  const id = useId();
  const set = (change: Partial<LogFilter>) => onFilter({ ...filter, ...change });
  return (
    <div className="rc-filters">
      <span className="rc-filters__search">
        <Icon name="search" />
        <label className="rc-hidden" htmlFor={`${id}-q`}>
          Search in the messages
        </label>
        <input
          ref={searchRef}
          id={`${id}-q`}
          className="rc-input"
          type="search"
          placeholder="Search messages"
          value={filter.q ?? ''}
          onChange={({ target }) => set({ q: target.value === '' ? undefined : target.value })}
        />
      </span>
      <label className="rc-hidden" htmlFor={`${id}-level`}>
        Level
      </label>
      <select
        id={`${id}-level`}
        className="rc-select"
        value={filter.level?.[0] ?? ''}
        onChange={({ target }) => set({ level: target.value === '' ? undefined : [target.value] })}
      >
        <option value="">All levels</option>
        {LEVELS.map((level) => (
          <option key={level}>{level}</option>
        ))}
      </select>
      {agents.length > 0 && (
        <>
          <label className="rc-hidden" htmlFor={`${id}-agent`}>
            Agent
          </label>
          <select
            id={`${id}-agent`}
            className="rc-select"
            value={filter.agent?.[0] ?? ''}
            onChange={({ target }) => set({ agent: target.value === '' ? undefined : [target.value] })}
          >
            <option value="">All agents</option>
            {agents.map((agent) => (
              <option key={agent}>{agent}</option>
            ))}
          </select>
        </>
      )}
      <span className="rc-filters__count">{countOf(log)}</span>
    </div>
  );
}

/** What is shown of how much: a search that covers a part says which. */
function countOf({ status, length, floor, head, searched }: LogWindow): string {
  if (status === 'loading') return 'reading…';
  if (searched === null) return head === 0 ? 'empty' : `${whole(floor)}–${whole(head)} of ${whole(head)}`;
  const all = searched.from <= floor && searched.to >= head;
  const where = all
    ? `all ${whole(Math.max(0, head - floor + 1))}`
    : `${whole(searched.from)}–${whole(searched.to)} of ${whole(head)}, reading`;
  return `${whole(length)} ${length === 1 ? 'hit' : 'hits'} in ${where}`;
}
