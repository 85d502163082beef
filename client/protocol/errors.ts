import { type ErrorCode, type Outcome, outcomes } from './outcomes.js';

interface Explanation {
  readonly meaning: string;
  readonly action: string;
}

/** What one error code means, and what to do. */
export type ErrorEntry = Outcome & Explanation;

const explanations: Record<ErrorCode, Explanation> = {
  invalid_json: {
    meaning: 'The frame is not JSON.',
    action: 'Send one JSON object per text frame.',
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
    meaning: 'The frame is larger than the limit in the connected reply.',
    action: 'Send smaller commands. Events are written with SQL, not sent to the gateway.',
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
  forbidden_origin: {
    meaning: 'A page of this origin may not connect.',
    action: 'Without ROWCAST_JWT_SECRET only pages of this machine may.',
  },
  unavailable: {
    meaning: 'The database cannot be reached right now.',
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
    meaning: 'The connection was opened but no connect command came in time.',
    action: 'Send connect as the first frame.',
  },
  heartbeat_timeout: {
    meaning: 'Nothing was heard from the gateway for two heartbeats; the client itself says so.',
    action: 'Connect again.',
  },
  token_expired: {
    meaning: 'The token has expired.',
    action: 'Connect again with a fresh token, or send refresh before it expires.',
  },
  too_many_connections: {
    meaning: 'The gateway, or this address, has as many connections as it may have.',
    action: 'Wait for retryAfter, or raise ROWCAST_MAX_CONNECTIONS or ROWCAST_ADDRESS_CONNECTIONS.',
  },
  rate_limited: {
    meaning: 'More came in a short time than the gateway admits, overall or from this address.',
    action: 'Wait for retryAfter. The client library does.',
  },
  unsupported_protocol: {
    meaning: 'The gateway does not speak the requested version of the protocol.',
    action: 'Use a client of the version that the message names.',
  },
  unauthorized: {
    meaning: 'The token is missing, or not signed with the secret of this gateway.',
    action: 'Get a valid token and connect with it.',
  },
  too_many_errors: {
    meaning: 'The connection sent too many frames that were refused.',
    action: 'Correct the client.',
  },
};

type Table = { readonly [Code in ErrorCode]: (typeof outcomes)[Code] & Explanation };

/** The table of errors. docs/reference/errors.md is this table. */
export const errors = Object.fromEntries(
  Object.entries(outcomes).map(([code, outcome]) => [code, { ...outcome, ...explanations[code as ErrorCode] }]),
) as Table;
