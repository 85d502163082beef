import { z } from 'zod';
import { text } from '../rules/inputs.js';
import { level, status } from '../rules/rows.js';

/** The venture of the demo. */
export const EXAMPLE_VENTURE = '00000000-0000-4000-8000-000000000001';

/** A schema for a UUID, which is converted to lower case as in the database. */
const guid = (what: string, example?: string) =>
  z
    .guid(`must be the id of ${what}: a UUID`)
    .toLowerCase()
    .meta({ description: `The id of ${what}.`, ...(example === undefined ? {} : { example }) });

export const ventureId = guid('a venture', EXAMPLE_VENTURE);
export const executionId = guid('an execution');

/** A schema for a comma-separated list of `entry`. */
function listOf<T extends z.ZodType<unknown, string>>(entry: T, most: number) {
  return z
    .string()
    .transform((text) => text.split(','))
    .pipe(z.array(entry).min(1).max(most));
}

const LIST = 'Comma-separated.';

export const ids = listOf(executionId, 100).meta({ description: `Up to 100 ids of executions. ${LIST}` });
export const statuses = listOf(status, 6).meta({
  description: `Only executions with these statuses, such as \`running,paused\`. ${LIST}`,
});
export const levels = listOf(level, 3).meta({
  description: `Only rows with these levels: \`info\`, \`warning\`, \`error\`. ${LIST}`,
});

const named = text(200).min(1);
export const eventTypes = listOf(named, 20).meta({ description: `Only rows with these event types. ${LIST}` });
export const agent = named.meta({ description: 'Only rows whose context has this `agent`.' });

/** In milliseconds. */
const UNITS = { m: 60_000, h: 3_600_000, d: 86_400_000 } as const;
const AGO = /^([1-9]\d{0,4})([mhd])$/;
const RANGE =
  'must be `<from>..<to>`, where one side may be empty, with times such as 2026-01-31 or 2026-01-31T09:30:00Z (encode + as %2B); or a duration such as 24h or 7d';
const BACKWARDS = 'must end after it begins';

/** Years and offsets that PostgreSQL does not support. */
const UNKNOWN_TIME = /^0000|[+-](1[6-9]|2\d):\d\d$/;
const moment = z
  .union([z.iso.datetime({ offset: true }), z.iso.date().transform((day) => `${day}T00:00:00Z`)])
  .refine((time) => !UNKNOWN_TIME.test(time));
const side = z.union([z.literal('').transform(() => undefined), moment]);

/** The fraction of the second, of which `Date` keeps milliseconds only. */
const fractionOf = (time: string) => Number(/\.\d+/.exec(time)?.[0] ?? 0);
const isBefore = (one: string, other: string) =>
  (Date.parse(one) - Date.parse(other) || fractionOf(one) - fractionOf(other)) < 0;

/** A time range: `from` is inclusive, `to` exclusive. An open side is undefined. */
export const dateRange = z
  .string()
  .transform((text, { addIssue }): { from?: string | undefined; to?: string | undefined } => {
    const [, count, unit] = AGO.exec(text) ?? [];
    if (count !== undefined) {
      return { from: new Date(Date.now() - Number(count) * UNITS[unit as keyof typeof UNITS]).toISOString() };
    }
    const sides = text.split('..').map((text) => side.safeParse(text));
    const [from, to] = sides;
    if (sides.length !== 2 || !from?.success || !to?.success || text === '..') {
      addIssue({ code: 'custom', message: RANGE });
      return {};
    }
    if (from.data !== undefined && to.data !== undefined && !isBefore(from.data, to.data)) {
      addIssue({ code: 'custom', message: BACKWARDS });
    }
    return { from: from.data, to: to.data };
  })
  .meta({
    description:
      '`<from>..<to>`: rows from the first time (inclusive) to the second (exclusive). One side may be empty. A date means its beginning in UTC. Or a duration such as `24h`, `7d` or `30m`: rows of that time up to now.',
  });

export const metricName = text(200).min(1);
export const searchText = text(200).min(1).meta({ description: 'Text in the message, case-insensitive.' });

export const since = z
  .string()
  .regex(
    /^(start|(?:[a-z0-9]{1,16}\.)?(?:0|[1-9]\d{0,14}))$/,
    'must be start, a seq like 42, or a position like 58326d.42',
  );
