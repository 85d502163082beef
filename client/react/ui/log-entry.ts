'use client';
import type { Row } from '../../protocol/index.js';
import type { StreamEvent } from '../../subscription/subscription.js';

/** A row as a log shows it, of whatever table it is: columns that the table does not have are empty. */
export interface LogEntry {
  /** Milliseconds since 1970, from `created_at`. */
  readonly at: number | null;
  readonly level: 'info' | 'warning' | 'error';
  readonly agent: string;
  readonly type: string;
  readonly message: string;
}

/** Characters of a row without a message that are made into one. */
const MAX_JSON = 2_000;

export function entryOf({ row, type = '' }: StreamEvent<Row>): LogEntry {
  const at = typeof row.created_at === 'string' ? Date.parse(row.created_at) : Number.NaN;
  const context = typeof row.context === 'object' && row.context !== null ? (row.context as Row) : {};
  const level = row.log_level === 'error' || row.log_level === 'warning' ? row.log_level : 'info';
  return {
    at: Number.isNaN(at) ? null : at,
    level,
    agent: typeof context.agent === 'string' ? context.agent : '',
    type,
    message: typeof row.message === 'string' ? row.message : JSON.stringify(row).slice(0, MAX_JSON),
  };
}
