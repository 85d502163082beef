import { RowcastError } from '../ground/error.js';
import { type Position, parsePosition, type Row } from '../protocol/index.js';
import { eventOf, type StreamEvent } from '../subscription/subscription.js';
import type { Api } from './api.js';
import type { LogFilter } from './log-filter.js';
import { PAGE, type Pages, pageOf } from './pages.js';

/** What a part of a channel has of a filter, the newest first: all of it from `from` on. It may have more than that. */
export interface Found {
  readonly events: readonly StreamEvent[];
  readonly from: number;
}

/** Searches what lies before a seq, from there back, as far as one request goes. Rejects with `RowcastError`. */
export type SearchBack = (before: number, floor: number, head: Position) => Promise<Found>;

/** The gateway searches the log of an execution. Of any other channel each page is read. */
export function searchOf(api: Api, pages: Pages, filter: LogFilter): SearchBack {
  const [, execution] = /^execution:(.+)$/.exec(pages.channel) ?? [];
  return execution === undefined ? inPages(pages) : atGateway(api, pages.channel, execution, filter);
}

function inPages(pages: Pages): SearchBack {
  return async (before, floor, head) => {
    const page = pageOf(before - 1);
    await pages.load(page, { ...head, seq: before - 1 });
    const from = Math.max(floor, page * PAGE + 1);
    const events: StreamEvent[] = [];
    for (let seq = before - 1; seq >= from; seq -= 1) {
      const event = pages.at(seq);
      if (event !== undefined) events.push(event);
    }
    return { events, from };
  };
}

/** Bounds of the gateway: the length of a text in characters, the number of types, and that of the rows in a response. */
const MAX_TEXT = 200;
const MAX_TYPES = 20;
const MAX_ROWS = 1_000;

function atGateway(api: Api, channel: string, execution: string, filter: LogFilter): SearchBack {
  const { q = '', level = [], type = [], agent = [] } = filter;
  const query = new URLSearchParams({ limit: String(MAX_ROWS) });
  if (q !== '') query.set('q', q.slice(0, MAX_TEXT));
  if (level.length > 0) query.set('level', level.join());
  if (type.length > 0 && type.length <= MAX_TYPES) query.set('event_type', type.join());
  if (agent.length === 1) query.set('agent', String(agent[0]));
  const path = `/executions/${encodeURIComponent(execution)}/logs?${query}`;
  return async (before, floor, { epoch }) => {
    const answer = Object(await api.get(`${path}&before=${before}`)) as Answer;
    if (parsePosition(String(answer.position))?.epoch !== epoch)
      throw new RowcastError('unavailable', 'the log was renumbered');
    const logs = Array.isArray(answer.logs) ? (answer.logs as (Row & { seq: number })[]) : [];
    const events = logs.map(({ seq, ...row }) => eventOf<Row>(channel, { epoch, seq }, row));
    return { events, from: typeof answer.next === 'number' ? answer.next : floor };
  };
}

interface Answer {
  readonly logs?: unknown;
  /** Where the search goes on: before this seq. Null: all of it was searched. */
  readonly next?: unknown;
  readonly position?: unknown;
}
