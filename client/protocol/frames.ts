/** The version of the protocol that this module implements. docs/protocol.md is its specification. */
export const PROTOCOL = 1;

/** A row of a stream as JSON, without `seq` and `tx`. */
export type Row = Readonly<Record<string, unknown>>;

/**
 * Where to begin: `start`, the oldest event that can be read; `now`, after the newest one; `-100`, with the newest 100; after
 * a seq or a position `<epoch>.<seq>`.
 */
export type Since = string;

export type Command =
  | { type: 'connect'; id: number; protocol: number; token?: string; ticket?: string; times?: boolean }
  | { type: 'subscribe'; id: number; channel: string; since?: Since }
  | { type: 'unsubscribe'; id: number; channel: string }
  | { type: 'refresh'; id: number; token: string }
  | { type: 'ping'; id: number };

/** The limits of a connection. Sizes in bytes. */
export interface Limits {
  readonly maxFrameBytes: number;
  readonly maxSubscriptions: number;
}

/** `too_large` and `unreadable`: the one event whose seq is that of the position is left out. */
export type ResetReason = 'epoch' | 'pruned' | 'ahead' | 'too_large' | 'unreadable';

/** Whether a reset leaves out a single event, that of its position, and nothing else. */
export function leavesOut(reason: ResetReason): reason is 'too_large' | 'unreadable' {
  return reason === 'too_large' || reason === 'unreadable';
}

export type Reply =
  | { type: 'connected'; id: number; session: string; heartbeat: number; limits: Limits }
  | { type: 'subscribed'; id: number; channel: string; epoch: string; head: number; floor: number }
  | { type: 'unsubscribed'; id?: number; channel: string; code: string }
  | { type: 'refreshed'; id: number }
  | { type: 'pong'; id: number }
  /** `retryAfter`: how long to wait before the next attempt, in milliseconds. */
  | { type: 'error'; id?: number; code: string; message: string; retryAfter?: number };

/** When an event was written, read from the table and sent, in milliseconds since 1970. */
export interface EventTimes {
  /** Its `created_at`, by the clock of the database; null if it has none. */
  readonly written: number | null;
  /** By the clock of the gateway. */
  readonly read: number;
  readonly sent: number;
}

export type Frame =
  | Reply
  /** `times`: of the first event. Only on a connection that asked for them, and not in a replay. */
  | { type: 'events'; channel: string; from: number; events: readonly Row[]; times?: EventTimes }
  /** `message`: for people, where a single event is left out. */
  | { type: 'reset'; channel: string; reason: ResetReason; position: string; message?: string }
  /** The stream of the channel cannot be read: the subscription waits, at its position, and `resumed` says that it goes on. */
  | { type: 'stalled'; channel: string; code: string }
  | { type: 'resumed'; channel: string }
  /** No event is sent until `refresh` is answered. Each subscription stays at its position. */
  | { type: 'paused'; code: string };

type Field = 'string' | 'string or nothing' | 'number' | 'number?' | 'object' | 'object or nothing' | 'rows';

const shapes: Record<Frame['type'], Record<string, Field>> = {
  connected: { id: 'number', session: 'string', heartbeat: 'number', limits: 'object' },
  subscribed: { id: 'number', channel: 'string', epoch: 'string', head: 'number', floor: 'number' },
  unsubscribed: { channel: 'string', code: 'string' },
  refreshed: { id: 'number' },
  pong: { id: 'number' },
  error: { code: 'string', message: 'string', retryAfter: 'number?' },
  events: { channel: 'string', from: 'number', events: 'rows', times: 'object or nothing' },
  reset: { channel: 'string', reason: 'string', position: 'string', message: 'string or nothing' },
  stalled: { channel: 'string', code: 'string' },
  resumed: { channel: 'string' },
  paused: { code: 'string' },
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isField(value: unknown, field: Field): boolean {
  if (field === 'number?') return value === undefined || typeof value === 'number';
  if (field === 'string or nothing') return value === undefined || typeof value === 'string';
  if (field === 'object or nothing') return value === undefined || isObject(value);
  if (field === 'rows') return Array.isArray(value) && value.every(isObject);
  return field === 'object' ? isObject(value) : typeof value === field;
}

function has(value: Record<string, unknown>, shape: Record<string, Field>): boolean {
  return Object.entries(shape).every(([name, field]) => isField(value[name], field));
}

/** A JSON value as a frame; null if it is none. Types that this version does not know are ignored. */
export function asFrame(value: unknown): Frame | null {
  if (!isObject(value) || typeof value.type !== 'string' || !Object.hasOwn(shapes, value.type)) return null;
  return has(value, shapes[value.type as Frame['type']]) ? (value as Frame) : null;
}

/** A text as a frame, as `asFrame`. `json`: what parses it. */
export function parseFrame(text: string, json: { parse(text: string): unknown } = JSON): Frame | null {
  try {
    return asFrame(json.parse(text));
  } catch {
    return null;
  }
}
