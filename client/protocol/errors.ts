import { type ErrorCode, type Outcome, outcomes } from './outcomes.js';

/** Codes that a subscriber, who is spared their bytes, never meets. */
const ofTheApi = {
  invalid_request: { outcome: 'stop' },
  method_not_allowed: { outcome: 'stop' },
  unknown_venture: { outcome: 'stop' },
  unknown_execution: { outcome: 'stop' },
  state_conflict: { outcome: 'stop' },
  idempotency_key_reused: { outcome: 'stop' },
} as const satisfies Record<string, Outcome>;

/** Every code that a gateway answers with. */
export type AnyErrorCode = ErrorCode | keyof typeof ofTheApi;

interface Explanation {
  readonly meaning: string;
  readonly action: string;
}

/** What one error code means, and what to do. */
export type ErrorEntry = Outcome & Explanation;

const explanations: Record<AnyErrorCode, Explanation> = {
  invalid_json: {
    meaning: 'The frame, or the body of a request, is not JSON.',
    action: 'Send one JSON object per text frame, and the JSON that a path takes as its body.',
  },
  unknown_type: {
    meaning: 'The frame has a type that is no command.',
    action: 'Send connect, subscribe, unsubscribe, refresh or ping.',
  },
  invalid_frame: {
    meaning: 'A field of the command is missing or has the wrong form.',
    action: 'The message names the field; see the protocol for its form.',
  },
  frame_too_large: {
    meaning: 'The frame, the body or the headers of a request are larger than the limit.',
    action: 'Send smaller commands; `connected` has the limit. Events are written with SQL, not sent to the gateway.',
  },
  not_connected: {
    meaning: 'A command came before the connect command was answered.',
    action: 'Send connect first and wait for connected.',
  },
  already_connected: {
    meaning: 'A second connect command came on the same connection.',
    action: 'Send refresh to change the token.',
  },
  invalid_channel: {
    meaning: 'The channel is not written <stream>:<key>, or its key is not written as the database writes it.',
    action: 'The message shows the expected form.',
  },
  unknown_channel: {
    meaning: 'There is no such stream, or nothing with that key.',
    action: 'Attach the table, or check the key.',
  },
  already_subscribed: {
    meaning: 'This connection is subscribed to the channel already.',
    action: 'Unsubscribe first to move to another position.',
  },
  not_subscribed: {
    meaning: 'This connection is not subscribed to the channel.',
    action: 'Nothing to do.',
  },
  too_many_subscriptions: {
    meaning: 'The connection has as many subscriptions as it may have.',
    action: 'Unsubscribe from a channel, or raise ROWCAST_MAX_SUBSCRIPTIONS.',
  },
  unknown_session: {
    meaning: 'This gateway has no connection of that name, or not of this principal.',
    action: "Open the connection anew with the channels it is to have; several gateways do not know each other's.",
  },
  position_gone: {
    meaning: 'What follows the position cannot be served: it was deleted, or the numbering is another one.',
    action: 'Fetch a snapshot of what you show, and read on from now, or begin anew from the start.',
  },
  not_found: {
    meaning: 'There is nothing at this path.',
    action: 'Look the path up in the protocol.',
  },
  forbidden: {
    meaning: 'There is no such thing, or this principal may not have it.',
    action: 'Ask whoever grants access. A subscription that ends with this code has lost its right.',
  },
  forbidden_origin: {
    meaning: 'A page of this origin, or whoever comes by this proxy, may not connect.',
    action: 'Have its origin listed in ROWCAST_ORIGINS. Without a key for tokens only this machine is served.',
  },
  unavailable: {
    meaning: 'The database cannot be reached right now, or cannot answer.',
    action: 'Try again with a growing, random delay. The client library does.',
  },
  internal: {
    meaning: 'The gateway failed in a way that it did not expect.',
    action: 'Try again; if it stays, look into the log of the gateway.',
  },
  shutting_down: {
    meaning: 'This gateway is stopping.',
    action: 'Connect again: another gateway, or this one restarted, goes on at your position.',
  },
  connect_timeout: {
    meaning: 'The connection was opened but no connect command came in time, or not all of a request did.',
    action: 'Send connect as the first frame, and each request in one go.',
  },
  heartbeat_timeout: {
    meaning: 'Nothing was heard from the gateway for two heartbeats; the client itself says so.',
    action: 'Connect again.',
  },
  token_expired: {
    meaning: 'The token has expired.',
    action: 'Send refresh with a fresh token, or connect again with one. The client library does.',
  },
  too_many_connections: {
    meaning: 'The gateway, this address or this user has as many connections as it may have.',
    action:
      'Wait for retryAfter, or raise ROWCAST_MAX_CONNECTIONS, ROWCAST_ADDRESS_CONNECTIONS or ROWCAST_USER_CONNECTIONS.',
  },
  rate_limited: {
    meaning: 'More came in a short time than the gateway admits, overall, from this address or from this user.',
    action: 'Wait for retryAfter. The client library does.',
  },
  unsupported_protocol: {
    meaning: 'The gateway does not speak the requested version of the protocol.',
    action: 'Use a client of the version that the message names.',
  },
  unauthorized: {
    meaning: 'There is no token or ticket, or not a good one; the message says what is wrong with it.',
    action: 'Get a valid token, or a new ticket, and connect with it.',
  },
  token_not_yet_valid: {
    meaning: 'The token is for later: its nbf has not come.',
    action: 'Connect again when it is valid; check the clocks of the issuer and of the gateway.',
  },
  invalid_request: {
    meaning: 'A parameter, a header or the body has the wrong form.',
    action: 'The answer names each field that is wrong; the API reference has their forms.',
  },
  method_not_allowed: {
    meaning: 'This path has no such method.',
    action: 'The header Allow names those that it has.',
  },
  unknown_venture: {
    meaning: 'There is no such venture.',
    action: 'Check the id.',
  },
  unknown_execution: {
    meaning: 'There is no such execution.',
    action: 'Check the id.',
  },
  state_conflict: {
    meaning: 'The execution is in a state in which this cannot be done.',
    action: 'The message says which states can follow; read the status again before you go on.',
  },
  idempotency_key_reused: {
    meaning: 'The same Idempotency-Key came with another request before.',
    action: 'Use a new key for each new request, and the same one only to repeat it.',
  },
  too_many_errors: {
    meaning: 'The connection sent too many frames that were refused.',
    action: 'Correct the client.',
  },
};

const all = { ...outcomes, ...ofTheApi };
type Table = { readonly [Code in AnyErrorCode]: (typeof all)[Code] & Explanation };

/** The table of errors. docs/reference/errors.md is this table. */
export const errors = Object.fromEntries(
  Object.entries(all).map(([code, outcome]) => [code, { ...outcome, ...explanations[code as AnyErrorCode] }]),
) as Table;
