/** How a program reacts to an error. The texts for people are in `errors`, so that clients need not load them. */
export interface Outcome {
  /** `retry`: the same request may succeed later. `stop`: it cannot succeed until something is changed. */
  readonly outcome: 'retry' | 'stop';
  /** The WebSocket close code, if the error ends a connection. 4000 to 4499: reconnect. 4500 to 4999: do not. */
  readonly close?: number;
}

/** All codes that a subscriber may receive. */
export const outcomes = {
  invalid_json: { outcome: 'stop' },
  unknown_type: { outcome: 'stop' },
  invalid_frame: { outcome: 'stop' },
  frame_too_large: { outcome: 'stop' },
  not_connected: { outcome: 'stop' },
  already_connected: { outcome: 'stop' },
  invalid_channel: { outcome: 'stop' },
  unknown_channel: { outcome: 'stop' },
  already_subscribed: { outcome: 'stop' },
  not_subscribed: { outcome: 'stop' },
  too_many_subscriptions: { outcome: 'stop' },
  unknown_session: { outcome: 'stop' },
  position_gone: { outcome: 'stop' },
  not_found: { outcome: 'stop' },
  forbidden: { outcome: 'stop' },
  forbidden_origin: { outcome: 'stop' },
  event_too_large: { outcome: 'stop' },
  event_unreadable: { outcome: 'stop' },
  unavailable: { outcome: 'retry' },
  stream_unreadable: { outcome: 'retry' },
  policy_failed: { outcome: 'retry' },
  internal: { outcome: 'retry', close: 4000 },
  shutting_down: { outcome: 'retry', close: 4001 },
  connect_timeout: { outcome: 'retry', close: 4002 },
  heartbeat_timeout: { outcome: 'retry', close: 4003 },
  token_expired: { outcome: 'retry', close: 4004 },
  too_many_connections: { outcome: 'retry', close: 4005 },
  rate_limited: { outcome: 'retry', close: 4006 },
  token_not_yet_valid: { outcome: 'retry', close: 4007 },
  unsupported_protocol: { outcome: 'stop', close: 4500 },
  unauthorized: { outcome: 'stop', close: 4501 },
  too_many_errors: { outcome: 'stop', close: 4502 },
} as const satisfies Record<string, Outcome>;

export type ErrorCode = keyof typeof outcomes;

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(outcomes, code);
}

/** The outcome of a code. A code of a newer gateway, unknown here, is retried. */
export function outcomeOf(code: string): Outcome {
  return isErrorCode(code) ? outcomes[code] : { outcome: 'retry' };
}

/** The close code of RFC 6455 for a message that is too large to be read. */
const TOO_LARGE = 1009;

/** Whether a WebSocket close code tells the client not to reconnect. */
export function closeStops(code: number): boolean {
  return code === TOO_LARGE || (code >= 4500 && code <= 4999);
}

/** The error code of a WebSocket close code; null if it is not in the table. */
export function codeOfClose(close: number): ErrorCode | null {
  if (close === TOO_LARGE) return 'frame_too_large';
  const found = Object.entries<Outcome>(outcomes).find(([, outcome]) => outcome.close === close);
  return found && isErrorCode(found[0]) ? found[0] : null;
}
