import { type ReactElement, useEffect, useRef, useState } from 'react';
import { useLog } from '../react/index.js';
import { LogFilters, LogView, ProofStrip } from '../react/ui/index.js';
import type { LogFilter } from '../store/index.js';
import { ChannelLesson } from './lesson.js';
import { Link } from './link.js';
import { setQuery } from './places.js';
import { Refused } from './refused.js';
import { useShortcuts } from './shortcuts.js';

interface ChannelPageProps {
  readonly channel: string;
  readonly query: URLSearchParams;
}

/** Any channel of any table. */
export function ChannelPage({ channel, query }: ChannelPageProps): ReactElement {
  const q = query.get('q') ?? undefined;
  const level = query.get('level') ?? undefined;
  const row = Number(query.get('row') ?? Number.NaN);
  const filter: LogFilter = { q, level: level === undefined ? undefined : [level] };
  const log = useLog(channel, filter);
  const [follow, setFollow] = useState(Number.isNaN(row));
  const search = useRef<HTMLInputElement>(null);
  useShortcuts({ '/': () => search.current?.focus(), f: () => setFollow(!follow) });
  useEffect(() => {
    document.title = `${channel} · Rowcast`;
  }, [channel]);
  const empty = log.status === 'live' && log.length === 0 && log.searched === null;
  const [, execution] = /^execution:(.+)$/.exec(channel) ?? [];
  return (
    <section className="page page--full" data-state={log.status}>
      <header className="page__header">
        <h1 className="page__title page__title--code">{channel}</h1>
        {execution !== undefined && (
          <Link to={`/e/${execution}`} className="page__aside">
            Open as an execution
          </Link>
        )}
      </header>
      {log.status === 'stale' && (
        <p className="rc-stale" role="note">
          {log.error?.message ?? 'Not connected'}: there may be more events by now.
        </p>
      )}
      {log.status === 'failed' && log.error !== null ? (
        <Refused error={log.error} what="channel" />
      ) : empty ? (
        <ChannelLesson channel={channel} />
      ) : (
        <LogView
          className="page__log"
          log={log}
          label={`Events of ${channel}`}
          follow={follow}
          onFollow={setFollow}
          at={Number.isNaN(row) ? null : row}
          onAt={(seq) => setQuery({ row: seq?.toString() })}
        >
          <LogFilters
            log={log}
            filter={filter}
            searchRef={search}
            onFilter={(next) => setQuery({ q: next.q, level: next.level?.[0] })}
          />
        </LogView>
      )}
      <ProofStrip channel={channel} />
    </section>
  );
}
