import { PROTOCOL } from '@rowcast/client/protocol';
import type { Request } from 'express';
import { z } from 'zod';
import { Refusal } from '../ground/refusal.js';
import type { Asked, Order } from '../ports/door.js';

/** The longest that a poll may wait, and what it waits if it does not say; in seconds. */
const MAX_WAIT = 60;
const DEFAULT_WAIT = 20;

const SESSION = '1 to 64 letters, digits, _ or -';
const WAIT = `0 to ${MAX_WAIT} seconds`;

const name = z.string(SESSION).regex(/^[\w-]{1,64}$/, SESSION);
/** What a command says is flat. What is not is left out here, however deep it goes: it is read, and handed on, without recursion. */
const command = z
  .looseObject({ type: z.string() })
  .transform((fields) => Object.fromEntries(Object.entries(fields).filter(([, value]) => Object(value) !== value)));
const session = z.object({ session: name.optional() });
const wait = z.object({
  wait: z.coerce
    .number<string>(WAIT)
    .refine((seconds) => Number.isInteger(seconds) && seconds >= 0 && seconds <= MAX_WAIT, WAIT)
    .default(DEFAULT_WAIT),
});

const commandsUpTo = (most: number) => z.array(command).min(1).max(most);

/** The commands of a body, in a connection of their own; so many at most. */
export function inBody(body: unknown, request: Request, names: readonly string[], most: number): Asked {
  const query = queryOf(request, names);
  const introduced = commandsUpTo(most).refine(([first]) => first?.type === 'connect', 'begins with connect');
  return { commands: parse(introduced, body), session: sessionOf(query), replies: true };
}

/** The commands of a body, and the session of the connection that they are for. */
export function forSession(body: unknown, most: number): Omit<Order, 'subject'> {
  return parse(z.object({ session: name, commands: commandsUpTo(most) }), body);
}

/**
 * `channel=…&since=…` as commands: `connect` has the id 0, the channels have 1 and so on. `once`: it shows a ticket, and
 * cannot be asked again.
 */
export function inQuery(
  request: Request,
  names: readonly string[],
  lastEventId?: string | null,
): Asked & { readonly sinces: readonly string[]; readonly once: boolean } {
  const query = queryOf(request, ['channel', 'since', 'ticket', ...names]);
  const resumed = lastEventId ? [...new URLSearchParams(lastEventId)] : null;
  const channels = resumed?.map(([channel]) => channel) ?? query.getAll('channel');
  const asked = query.getAll('since');
  if (channels.length === 0) throw new Refusal('invalid_frame', 'channel: name at least one, <stream>:<key>');
  if (resumed === null && asked.length > 1 && asked.length !== channels.length) {
    throw new Refusal('invalid_frame', 'since: give one for all channels, or one for each of them in their order');
  }
  const sinces = resumed?.map(([, since]) => since) ?? channels.map((_, index) => asked[index] ?? asked[0] ?? 'now');
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
    once: ticket !== undefined,
  };
}

/** In milliseconds. */
export function waitOf(request: Request): number {
  return parse(wait, { wait: searchOf(request).get('wait') ?? undefined }).wait * 1000;
}

function sessionOf(query: URLSearchParams): string | undefined {
  return parse(session, { session: query.get('session') ?? undefined }).session;
}

/** A misspelt name would be a wish that nobody hears, such as a `since` that is taken for `now`. */
function queryOf(request: Request, names: readonly string[]): URLSearchParams {
  const query = searchOf(request);
  const unknown = [...query.keys()].find((key) => !names.includes(key));
  if (unknown === undefined) return query;
  throw new Refusal('invalid_frame', `${JSON.stringify(unknown.slice(0, 40))} is none of ${names.join(', ')}`);
}

/** An address may be one that no URL is. */
export function searchOf(request: Request): URLSearchParams {
  return new URLSearchParams(request.originalUrl.split(/[?#]/, 2)[1] ?? '');
}

function parse<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const faults = parsed.error.issues.map(({ path, message }) => `${path.join('.') || 'the body'}: ${message}`);
  throw new Refusal('invalid_frame', faults.join('; '));
}
