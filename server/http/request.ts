/**
 * Parses the requests of event streams, polls and forwarded commands into the commands of the protocol. Both forms of a
 * request, a JSON body and a query string, become the same `ConnectRequest`. Every function throws `Refusal` (invalid_frame).
 */
import { PROTOCOL } from '@rowcast/client/protocol';
import type { Request } from 'express';
import { z } from 'zod';
import { COMMAND_FIELDS, hasManyNames, TOO_MANY_NAMES } from '../connection/commands.js';
import { Refusal } from '../ground/refusal.js';
import type { ConnectRequest, ForwardedCommands } from '../ports/door.js';

/** The maximum and the default of `wait`, the time that a poll waits for events, in seconds. */
const MAX_WAIT = 60;
const DEFAULT_WAIT = 20;

const SESSION = '1 to 64 letters, digits, _ or -';
const WAIT = `0 to ${MAX_WAIT} seconds`;

const name = z.string(SESSION).regex(/^[\w-]{1,64}$/, SESSION);
/** The fields of a command are scalars. Nested values and other fields are dropped without looking into them. */
const scalar = z.unknown().transform((value) => (Object(value) === value ? undefined : value));
const command = z
  .custom((value) => !hasManyNames(value), TOO_MANY_NAMES)
  .pipe(
    z.object({ type: z.string(), ...Object.fromEntries(COMMAND_FIELDS.map((field) => [field, scalar.optional()])) }),
  );
const session = z.object({ session: name.optional() });
const wait = z.object({
  wait: z.coerce
    .number<string>(WAIT)
    .refine((seconds) => Number.isInteger(seconds) && seconds >= 0 && seconds <= MAX_WAIT, WAIT)
    .default(DEFAULT_WAIT),
});

const commandsUpTo = (most: number) => z.array(command).min(1).max(most);

/** Parses a body with up to `most` commands, the first of which is `connect`. `names` are the parameters that the query may have. */
export function commandsInBody(
  body: unknown,
  request: Request,
  names: readonly string[],
  most: number,
): ConnectRequest {
  const query = queryOf(request, names);
  const commands = commandsUpTo(most).refine(([first]) => first?.type === 'connect', 'begins with connect');
  return { commands: parse(commands, body), session: sessionOf(query), replies: true };
}

/** Parses a body with up to `most` commands for an open connection, and the session that names the connection. */
export function forwardedInBody(body: unknown, most: number): Omit<ForwardedCommands, 'subject'> {
  return parse(z.object({ session: name, commands: commandsUpTo(most) }), body);
}

/**
 * Turns `channel=…&since=…` into commands: `connect` with the id 0, then one `subscribe` for each channel with the ids 1,
 * 2 and so on. A `lastEventId` replaces channels and positions. `singleUse`: the request carries a ticket, so that it cannot be
 * repeated.
 */
export function commandsInQuery(
  request: Request,
  names: readonly string[],
  lastEventId?: string | null,
): ConnectRequest & { readonly sinces: readonly string[]; readonly singleUse: boolean } {
  const query = queryOf(request, ['channel', 'since', 'ticket', ...names]);
  const resumed = lastEventId ? [...new URLSearchParams(lastEventId)] : null;
  const channels = resumed?.map(([channel]) => channel) ?? query.getAll('channel');
  const requested = query.getAll('since');
  if (channels.length === 0) throw new Refusal('invalid_frame', 'channel: at least one is required, as <stream>:<key>');
  if (resumed === null && requested.length > 1 && requested.length !== channels.length) {
    throw new Refusal('invalid_frame', 'since: send one for all channels, or one for each channel in the same order');
  }
  const sinces =
    resumed?.map(([, since]) => since) ?? channels.map((_, index) => requested[index] ?? requested[0] ?? 'now');
  const ticket = query.get('ticket') ?? undefined;
  const subscribe = channels.map((channel, index) => ({
    type: 'subscribe',
    id: index + 1,
    channel,
    since: sinces[index],
  }));
  return {
    commands: [{ type: 'connect', id: 0, protocol: PROTOCOL, ticket }, ...subscribe],
    session: sessionOf(query),
    replies: false,
    sinces,
    singleUse: ticket !== undefined,
  };
}

/** The `wait` of a poll, in milliseconds. */
export function waitOf(request: Request): number {
  return parse(wait, { wait: searchOf(request).get('wait') ?? undefined }).wait * 1000;
}

function sessionOf(query: URLSearchParams): string | undefined {
  return parse(session, { session: query.get('session') ?? undefined }).session;
}

/** Unknown names are refused: a misspelt `since` would be ignored silently, and the stream would start at `now`. */
function queryOf(request: Request, names: readonly string[]): URLSearchParams {
  const query = searchOf(request);
  const unknown = [...query.keys()].find((key) => !names.includes(key));
  if (unknown === undefined) return query;
  throw new Refusal(
    'invalid_frame',
    `unknown parameter ${JSON.stringify(unknown.slice(0, 40))}: expected ${names.join(', ')}`,
  );
}

/** Returns the query of a request. Its target may not be a valid URL, so that `URL` cannot parse it. */
export function searchOf(request: Request): URLSearchParams {
  return new URLSearchParams(request.originalUrl.split(/[?#]/, 2)[1] ?? '');
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'the body'}: ${message}`);
  throw new Refusal('invalid_frame', faults.join('; '));
}
