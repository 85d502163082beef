import { type ErrorCode, type Outcome, outcomes } from './outcomes.js';

/** Codes of the HTTP API. A subscriber never receives them, so its bundle leaves them out. */
const ofTheApi = {
  invalid_request: { outcome: 'stop' },
  method_not_allowed: { outcome: 'stop' },
  unknown_venture: { outcome: 'stop' },
  unknown_execution: { outcome: 'stop' },
  state_conflict: { outcome: 'stop' },
  idempotency_key_reused: { outcome: 'stop' },
  unknown_task: { outcome: 'stop' },
  unknown_schedule: { outcome: 'stop' },
  plan_invalid: { outcome: 'stop' },
  lease_lost: { outcome: 'stop' },
  budget_reached: { outcome: 'stop' },
} as const satisfies Record<string, Outcome>;

/** Every code that a gateway sends. */
export type AnyErrorCode = ErrorCode | keyof typeof ofTheApi;

interface Explanation {
  readonly meaning: string;
  readonly action: string;
}

/** The meaning of an error code, and what to do about it. */
export type ErrorEntry = Outcome & Explanation;

const explanations: Record<AnyErrorCode, Explanation> = {
  invalid_json: {
    meaning: 'The frame, or the body of a request, is not JSON.',
    action: 'Send one JSON object per text frame, and the JSON that the path expects as a body.',
  },
  unknown_type: {
    meaning: 'The type of the frame is not a command.',
    action: 'Send connect, subscribe, unsubscribe, refresh or ping.',
  },
  invalid_frame: {
    meaning: 'A field of the command is missing or malformed.',
    action: 'The message names the field; see the protocol for its form.',
  },
  frame_too_large: {
    meaning: 'The frame, the body or the headers of a request are larger than the limit.',
    action:
      'Send smaller commands; the frame `connected` has the limit. Events are written with SQL, not sent to the gateway.',
  },
  not_connected: {
    meaning: 'A command arrived before the reply to `connect`.',
    action: 'Send `connect` first and wait for `connected`.',
  },
  already_connected: {
    meaning: 'A second `connect` arrived on the same connection.',
    action: 'Send `refresh` to change the token.',
  },
  invalid_channel: {
    meaning: 'The channel is not written `<stream>:<key>`, or its key is not spelled as PostgreSQL prints it.',
    action: 'The message shows the expected form.',
  },
  unknown_channel: {
    meaning: 'The stream does not exist, or nothing exists with that key.',
    action: 'Attach the table, or check the key.',
  },
  already_subscribed: {
    meaning: 'This connection is already subscribed to the channel.',
    action: 'Unsubscribe first to move to another position. The client library does.',
  },
  not_subscribed: {
    meaning: 'This connection is not subscribed to the channel.',
    action: 'Nothing to do.',
  },
  too_many_subscriptions: {
    meaning: 'The connection has reached its maximum number of subscriptions.',
    action: 'Unsubscribe from a channel, or raise ROWCAST_MAX_SUBSCRIPTIONS.',
  },
  unknown_session: {
    meaning: 'This gateway has no connection with that name, or the connection belongs to another principal.',
    action: 'Open a new connection with all its channels. Another gateway does not know the connections of this one.',
  },
  position_gone: {
    meaning: 'Events after the position cannot be served: they were deleted, or the numbering has changed.',
    action:
      'Load a snapshot together with its position and continue from that position, or begin again from the start.',
  },
  not_found: {
    meaning: 'Nothing exists at this path.',
    action: 'Look the path up in the protocol.',
  },
  forbidden: {
    meaning: 'Not found, or you are not allowed to access it.',
    action: 'Ask the operator for access. A subscription that ends with this code has lost its right.',
  },
  forbidden_origin: {
    meaning: 'This origin (or proxy) is not allowed.',
    action: 'Add the origin to ROWCAST_ORIGINS. Without a key for tokens the gateway serves its own machine only.',
  },
  unavailable: {
    meaning: 'The database cannot be reached at the moment, or did not answer.',
    action: 'Retry with exponential backoff and jitter. The client library does.',
  },
  stream_unreadable: {
    meaning:
      'The stream cannot be read at the moment because of a problem with its table. Other streams are not affected.',
    action:
      'Wait: events continue at your position. `/readyz`, the log of the gateway and `rowcast doctor` name the cause.',
  },
  policy_failed: {
    meaning:
      'Access to the channel cannot be decided at present, because a rule of its stream fails. Other streams are not affected.',
    action:
      'Retry with backoff; the client library does, and continues at your position. The log of the gateway has the error of PostgreSQL.',
  },
  event_too_large: {
    meaning:
      'An event is larger than the gateway sends, and the subscription has no `onReset` that could be told that it is left out; or so is a row of a snapshot.',
    action:
      'Handle `onReset`: its position names the event, which is in the table. For a snapshot, leave out the large column. ROWCAST_EVENT_BYTES is the limit, up to 64 MiB.',
  },
  event_unreadable: {
    meaning:
      'PostgreSQL cannot encode an event as JSON, and the subscription has no `onReset` that could be told that it is left out.',
    action: 'Handle `onReset`: its position names the event. The log of the gateway says what PostgreSQL said.',
  },
  internal: {
    meaning: 'The gateway failed unexpectedly.',
    action: 'Retry. If the error persists, look into the log of the gateway.',
  },
  shutting_down: {
    meaning: 'This gateway is stopping.',
    action: 'Reconnect: another gateway, or this one after its restart, continues from your position.',
  },
  connect_timeout: {
    meaning: 'The connection was opened but `connect` did not arrive in time, or a request was incomplete.',
    action: 'Send `connect` as the first frame, and each request without a pause.',
  },
  heartbeat_timeout: {
    meaning: 'The client received nothing from the gateway for two heartbeats. The client itself reports this code.',
    action: 'Reconnect.',
  },
  token_expired: {
    meaning: 'The token has expired.',
    action: 'Send `refresh` with a new token, or reconnect with one. The client library does.',
  },
  too_many_connections: {
    meaning: 'The gateway, this address or this user has reached its maximum number of connections.',
    action:
      'Wait for `retryAfter`, or raise ROWCAST_MAX_CONNECTIONS, ROWCAST_ADDRESS_CONNECTIONS or ROWCAST_USER_CONNECTIONS.',
  },
  rate_limited: {
    meaning: 'The gateway, this address or this user exceeded its rate limit.',
    action: 'Wait for `retryAfter`. The client library does.',
  },
  unsupported_protocol: {
    meaning: 'The gateway does not support the requested version of the protocol.',
    action: 'Use a client of the version that the message names.',
  },
  unauthorized: {
    meaning: 'The token or ticket is missing or invalid; the message says why.',
    action: 'Connect with a valid token or a new ticket.',
  },
  token_not_yet_valid: {
    meaning: 'The token is not valid yet: its `nbf` is in the future.',
    action: 'Reconnect when it is valid. Check the clocks of the issuer and of the gateway.',
  },
  invalid_request: {
    meaning: 'A parameter, a header or the body is malformed.',
    action: 'The response names each wrong field; the API reference describes them.',
  },
  method_not_allowed: {
    meaning: 'The path does not support this method.',
    action: 'The header `Allow` lists the methods that it supports.',
  },
  unknown_venture: {
    meaning: 'The venture does not exist.',
    action: 'Check the id.',
  },
  unknown_execution: {
    meaning: 'The execution does not exist.',
    action: 'Check the id.',
  },
  state_conflict: {
    meaning: 'The state of the execution does not allow this.',
    action: 'The message names the states that can follow. Read the status again before you continue.',
  },
  idempotency_key_reused: {
    meaning: 'The same `Idempotency-Key` was used for another request.',
    action: 'Use a new key for each new request, and reuse a key only to repeat its request.',
  },
  unknown_task: {
    meaning: 'The task does not exist.',
    action: 'Check the id, or the name within its execution.',
  },
  unknown_schedule: {
    meaning: 'The schedule does not exist, or you may not see it.',
    action: 'List the schedules of the venture.',
  },
  plan_invalid: {
    meaning: 'The plan cannot be run: a cycle, a task that needs one that is not there, or a name that two tasks have.',
    action:
      'The message names the cycle or the task. `POST /api/executions/validate` checks a plan without writing it.',
  },
  lease_lost: {
    meaning: 'The lease is over: the task was given to another worker, released or cancelled. Nothing was changed.',
    action: 'Stop working on the task, and claim the next one.',
  },
  budget_reached: {
    meaning: 'The execution has spent its budget, and is paused.',
    action: 'Resume it with a higher `budget`, or cancel it.',
  },
  too_many_errors: {
    meaning: 'The connection sent too many invalid frames.',
    action: 'Fix the client.',
  },
};

const all = { ...outcomes, ...ofTheApi };
type Table = { readonly [Code in AnyErrorCode]: (typeof all)[Code] & Explanation };

/** The table of errors. docs/reference/errors.md is generated from it. */
export const errors = Object.fromEntries(
  Object.entries(all).map(([code, outcome]) => [code, { ...outcome, ...explanations[code as AnyErrorCode] }]),
) as Table;
