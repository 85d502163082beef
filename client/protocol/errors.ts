/** What one error code means, what the client should do, and the WebSocket close code where it ends a connection. */
export interface ErrorEntry {
  readonly meaning: string;
  /** `retry`: the same may work later, by itself. `stop`: it cannot work until somebody changes something. */
  readonly outcome: 'retry' | 'stop';
  readonly action: string;
  /** 4000 to 4499: come back. 4500 to 4999: stay away. */
  readonly close?: number;
}

/** Every code that a gateway answers with. docs/reference/errors.md is this table. */
export const errors = {
  invalid_json: {
    meaning: 'The frame is not JSON.',
    outcome: 'stop',
    action: 'Send one JSON object per text frame.',
  },
  unknown_type: {
    meaning: 'The frame has a type that is no command.',
    outcome: 'stop',
    action: 'Send connect, subscribe, unsubscribe, refresh or ping.',
  },
  invalid_frame: {
    meaning: 'A field of the command is missing or has the wrong form.',
    outcome: 'stop',
    action: 'The message names the field; see the protocol for its form.',
  },
  frame_too_large: {
    meaning: 'The frame is larger than the limit in the connected reply.',
    outcome: 'stop',
    action: 'Send smaller commands. Events are written with SQL, not sent to the gateway.',
  },
  not_connected: {
    meaning: 'A command came before the connect command was answered.',
    outcome: 'stop',
    action: 'Send connect first and wait for connected.',
  },
  already_connected: {
    meaning: 'A second connect command came on the same connection.',
    outcome: 'stop',
    action: 'Send refresh to change the token.',
  },
  invalid_channel: {
    meaning: 'The channel is not written <stream>:<key>, or its key is not written as the database writes it.',
    outcome: 'stop',
    action: 'The message shows the expected form.',
  },
  unknown_channel: {
    meaning: 'There is no such stream, or nothing with that key.',
    outcome: 'stop',
    action: 'Attach the table, or check the key.',
  },
  already_subscribed: {
    meaning: 'This connection is subscribed to the channel already.',
    outcome: 'stop',
    action: 'Unsubscribe first to move to another position.',
  },
  not_subscribed: {
    meaning: 'This connection is not subscribed to the channel.',
    outcome: 'stop',
    action: 'Nothing to do.',
  },
  too_many_subscriptions: {
    meaning: 'The connection has as many subscriptions as it may have.',
    outcome: 'stop',
    action: 'Unsubscribe from a channel, or raise ROWCAST_MAX_SUBSCRIPTIONS.',
  },
  not_found: {
    meaning: 'There is nothing at this path.',
    outcome: 'stop',
    action: 'Look the path up in the protocol.',
  },
  forbidden_origin: {
    meaning: 'A page of this origin may not connect.',
    outcome: 'stop',
    action: 'Without ROWCAST_JWT_SECRET only pages of this machine may.',
  },
  unavailable: {
    meaning: 'The database cannot be reached right now.',
    outcome: 'retry',
    action: 'Try again with a growing, random delay. The client library does.',
  },
  internal: {
    meaning: 'The gateway failed in a way that it did not expect.',
    outcome: 'retry',
    action: 'Try again; if it stays, look into the log of the gateway.',
    close: 4000,
  },
  shutting_down: {
    meaning: 'This gateway is stopping.',
    outcome: 'retry',
    action: 'Connect again: another gateway, or this one restarted, goes on at your position.',
    close: 4001,
  },
  connect_timeout: {
    meaning: 'The connection was opened but no connect command came in time.',
    outcome: 'retry',
    action: 'Send connect as the first frame.',
    close: 4002,
  },
  heartbeat_timeout: {
    meaning: 'Nothing was heard from the gateway for two heartbeats; the client itself says so.',
    outcome: 'retry',
    action: 'Connect again.',
    close: 4003,
  },
  token_expired: {
    meaning: 'The token has expired.',
    outcome: 'retry',
    action: 'Connect again with a fresh token, or send refresh before it expires.',
    close: 4004,
  },
  too_many_connections: {
    meaning: 'The gateway, or this address, has as many connections as it may have.',
    outcome: 'retry',
    action: 'Wait for retryAfter, or raise ROWCAST_MAX_CONNECTIONS or ROWCAST_ADDRESS_CONNECTIONS.',
    close: 4005,
  },
  rate_limited: {
    meaning: 'More came in a short time than the gateway admits, overall or from this address.',
    outcome: 'retry',
    action: 'Wait for retryAfter. The client library does.',
    close: 4006,
  },
  unsupported_protocol: {
    meaning: 'The gateway does not speak the requested version of the protocol.',
    outcome: 'stop',
    action: 'Use a client of the version that the message names.',
    close: 4500,
  },
  unauthorized: {
    meaning: 'The token is missing, or not signed with the secret of this gateway.',
    outcome: 'stop',
    action: 'Get a valid token and connect with it.',
    close: 4501,
  },
  too_many_errors: {
    meaning: 'The connection sent too many frames that were refused.',
    outcome: 'stop',
    action: 'Correct the client.',
    close: 4502,
  },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof errors;

export function isErrorCode(code: string): code is ErrorCode {
  return Object.hasOwn(errors, code);
}

/** The entry of a code; a code that a newer gateway added is retried. */
export function errorEntry(code: string): ErrorEntry {
  return isErrorCode(code) ? errors[code] : { meaning: code, outcome: 'retry', action: 'Update the client.' };
}

/** The close code of RFC 6455 for a frame that is too large even to be read. */
const TOO_LARGE = 1009;

/** Whether a WebSocket close code tells the client to stay away. */
export function closeStops(code: number): boolean {
  return code === TOO_LARGE || (code >= 4500 && code <= 4999);
}

/** The error code that a WebSocket close code stands for, if it is one of the table. */
export function codeOfClose(close: number): ErrorCode | null {
  if (close === TOO_LARGE) return 'frame_too_large';
  const found = Object.entries(errors).find(([, entry]) => 'close' in entry && entry.close === close);
  return found && isErrorCode(found[0]) ? found[0] : null;
}
