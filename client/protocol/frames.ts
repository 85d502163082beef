/** The version of the protocol that this module describes; docs/protocol.md is its normative text. */
export const PROTOCOL = 1;

/** A row of a stream as JSON, without `seq` and `tx`. */
export type Row = Readonly<Record<string, unknown>>;

/** Where to begin: the oldest event still there, after the newest one, or after a position `<epoch>.<seq>`. */
export type Since = string;

export type Command =
  | { type: 'connect'; id: number; protocol: number; token?: string; ticket?: string }
  | { type: 'subscribe'; id: number; channel: string; since?: Since }
  | { type: 'unsubscribe'; id: number; channel: string }
  | { type: 'refresh'; id: number; token: string }
  | { type: 'ping'; id: number };

/** What the gateway allows on this connection. Sizes in bytes, times in milliseconds. */
export interface Limits {
  readonly maxFrameBytes: number;
  readonly maxSubscriptions: number;
}

export type ResetReason = 'epoch' | 'pruned' | 'ahead';

export type Reply =
  | { type: 'connected'; id: number; session: string; heartbeat: number; limits: Limits }
  | { type: 'subscribed'; id: number; channel: string; epoch: string; head: number; floor: number }
  | { type: 'unsubscribed'; id?: number; channel: string; code: string }
  | { type: 'refreshed'; id: number }
  | { type: 'pong'; id: number }
  /** `retryAfter`: how long to wait before asking again, in milliseconds. */
  | { type: 'error'; id?: number; code: string; message: string; retryAfter?: number };

export type Frame =
  | Reply
  | { type: 'events'; channel: string; from: number; events: readonly Row[] }
  | { type: 'reset'; channel: string; reason: ResetReason; position: string }
  /** No event comes until `refresh` was answered; every subscription stays at its position. */
  | { type: 'paused'; code: string };

type Field = 'string' | 'number' | 'number or nothing' | 'object' | 'rows';

const shapes: Record<Frame['type'], Record<string, Field>> = {
  connected: { id: 'number', session: 'string', heartbeat: 'number', limits: 'object' },
  subscribed: { id: 'number', channel: 'string', epoch: 'string', head: 'number', floor: 'number' },
  unsubscribed: { channel: 'string', code: 'string' },
  refreshed: { id: 'number' },
  pong: { id: 'number' },
  error: { code: 'string', message: 'string', retryAfter: 'number or nothing' },
  events: { channel: 'string', from: 'number', events: 'rows' },
  reset: { channel: 'string', reason: 'string', position: 'string' },
  paused: { code: 'string' },
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function isField(value: unknown, field: Field): boolean {
  if (field === 'number or nothing') return value === undefined || typeof value === 'number';
  if (field === 'rows') return Array.isArray(value) && value.every(isObject);
  return field === 'object' ? isObject(value) : typeof value === field;
}

function has(value: Record<string, unknown>, shape: Record<string, Field>): boolean {
  return Object.entries(shape).every(([name, field]) => isField(value[name], field));
}

/** The frame that a JSON value is, or null: a frame of a type that this version does not know is passed over. */
export function asFrame(value: unknown): Frame | null {
  if (!isObject(value) || typeof value.type !== 'string' || !Object.hasOwn(shapes, value.type)) return null;
  return has(value, shapes[value.type as Frame['type']]) ? (value as Frame) : null;
}

/** The frame that a text holds, or null, as `asFrame`. */
export function parseFrame(text: string): Frame | null {
  try {
    return asFrame(JSON.parse(text));
  } catch {
    return null;
  }
}
