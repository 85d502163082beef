/** Parses the commands of clients. Fields that are not declared here are dropped; malformed frames throw `RefusedFrame`. */
import type { Command } from '@rowcast/client/protocol';
import { z } from 'zod';
import { Refusal } from '../ground/refusal.js';
import { isStorable } from '../ground/storable.js';

const id = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);
const unicode = z.string().refine(isStorable, 'must be Unicode text without NUL');
/** As PostgreSQL counts characters, which keeps longer keys out of a stream (`rowcast.longest_key`). */
const channel = unicode
  .min(1)
  .max(1024)
  .refine((name) => [...name].length <= 512, 'must have at most 512 characters');
const token = z.string().min(1);
const ticket = z.string().min(1).max(128);

const commands = {
  connect: z.object({
    type: z.literal('connect'),
    id,
    protocol: z.number().int(),
    token: token.optional(),
    ticket: ticket.optional(),
    times: z.boolean().default(false),
  }),
  subscribe: z.object({ type: z.literal('subscribe'), id, channel, since: unicode.max(64).default('now') }),
  unsubscribe: z.object({ type: z.literal('unsubscribe'), id, channel }),
  refresh: z.object({ type: z.literal('refresh'), id, token }),
  ping: z.object({ type: z.literal('ping'), id }),
};

export type ParsedCommand = { [T in keyof typeof commands]: z.output<(typeof commands)[T]> }[keyof typeof commands];

/** The fields of all commands, besides their type. */
export const COMMAND_FIELDS: readonly string[] = [
  ...new Set(Object.values(commands).flatMap(({ shape }) => Object.keys(shape))),
].filter((field) => field !== 'type');

/** Maximum number of names in a command. Fields of newer clients are dropped; thousands of them are no command. */
const MAX_NAMES = 20;
export const TOO_MANY_NAMES = `must have at most ${MAX_NAMES} fields`;

/** Whether an object has more names than a command. Counted before anything else is done with them. */
export function hasManyNames(value: unknown): boolean {
  return typeof value === 'object' && value !== null && Object.keys(value).length > MAX_NAMES;
}

const envelope = z.object({ type: z.string(), id: id.optional().catch(undefined) });

/** The refusal of a malformed frame, with the id of its command if it has one. */
export class RefusedFrame extends Refusal {
  readonly id: number | undefined;

  constructor(code: 'invalid_json' | 'invalid_frame' | 'unknown_type', message: string, id?: number) {
    super(code, message);
    this.id = id;
  }
}

function isCommandType(type: string): type is Command['type'] {
  return Object.hasOwn(commands, type);
}

/** Parses the command in a text frame. Throws `RefusedFrame`. */
export function parseCommand(text: string): ParsedCommand {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new RefusedFrame('invalid_json', 'the frame is not JSON');
  }
  return readCommand(value);
}

/** Parses a command from a JSON value. Throws `RefusedFrame`. */
export function readCommand(value: unknown): ParsedCommand {
  if (hasManyNames(value)) throw new RefusedFrame('invalid_frame', `a frame ${TOO_MANY_NAMES}`);
  const outer = envelope.safeParse(value);
  if (!outer.success) throw new RefusedFrame('invalid_frame', 'a frame must be an object with a type and an id');
  const { type, id: commandId } = outer.data;
  if (!isCommandType(type)) {
    throw new RefusedFrame('unknown_type', `${JSON.stringify(type.slice(0, 40))} is not a command`, commandId);
  }
  const command = commands[type].safeParse(value);
  if (command.success) return command.data;
  const fields = command.error.issues.map(({ path, message }) => `${path.join('.')}: ${message}`).join('; ');
  throw new RefusedFrame('invalid_frame', `${type}: ${fields}`, commandId);
}
