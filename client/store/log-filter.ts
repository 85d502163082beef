import type { StreamEvent } from '../subscription/subscription.js';

/** What a row must have, all of it. */
export interface LogFilter {
  /** Text in the column `message`, without regard to case. */
  readonly q?: string | undefined;
  /** One of these in the column `log_level`. */
  readonly level?: readonly string[] | undefined;
  /** One of these in the column `event_type`. */
  readonly type?: readonly string[] | undefined;
  /** One of these as `agent` in the column `context`. */
  readonly agent?: readonly string[] | undefined;
  /** One of these in the column `stage_number`. */
  readonly stage?: readonly number[] | undefined;
}

/** Whether an event passes a filter; null for a filter that all events pass. */
export function matcherOf({ q = '', level, type, agent, stage }: LogFilter): ((event: StreamEvent) => boolean) | null {
  const text = q.toLowerCase();
  const among = <T>(list: readonly T[] | undefined, value: unknown) => !list?.length || list.includes(value as T);
  if (text === '' && ![level, type, agent, stage].some((list) => list?.length)) return null;
  return ({ row }) =>
    among(level, row.log_level) &&
    among(type, row.event_type) &&
    among(stage, row.stage_number) &&
    among(agent, (Object(row.context) as { agent?: unknown }).agent) &&
    (text === '' || (typeof row.message === 'string' && row.message.toLowerCase().includes(text)));
}
