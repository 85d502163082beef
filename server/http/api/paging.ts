import { z } from 'zod';

/** The content of a `cursor`: the last row of a page. Lists are sorted by time and id, newest first. */
export interface PageToken {
  readonly at: string;
  readonly id: string;
}

/** A schema for an integer in a query string, where every value is a string. */
export const wholeNumber = (min: number, max: number) => {
  const wrong = `must be a whole number from ${min} to ${max}`;
  const digits = (text: unknown) => (typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : text);
  return z.preprocess(digits, z.int(wrong).min(min, wrong).max(max, wrong));
};

export const pageLimit = (max: number, most: number) =>
  wholeNumber(1, max)
    .prefault(most)
    .meta({ description: `The maximum number of items, 1 to ${max}. Default: ${most}.` });

/** A timestamp as PostgreSQL writes it. Years may have more than four digits, or be BC. */
const WRITTEN_TIME = /^(-?infinity|\d{4,6}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?\+00:00( BC)?)$/;

const written = z.tuple([z.string().regex(WRITTEN_TIME), z.guid()]);
const CURSOR = 'must be the next_cursor of a page';

export const cursor = z
  .string()
  .max(200, CURSOR)
  .transform((text, { addIssue }): PageToken => {
    const { data } = written.safeParse(readCursor(text));
    if (data !== undefined) return { at: data[0], id: data[1] };
    addIssue({ code: 'custom', message: CURSOR });
    return z.NEVER;
  })
  .meta({ description: '`next_cursor` of the previous page. Rows that were added since do not shift the page.' });

export const pagination = z.object({
  limit: z.int(),
  next_cursor: z.string().nullable().meta({ description: 'The `cursor` of the next page; null on the last page.' }),
  has_more: z.boolean(),
});

/** The `pagination` of a page. `last` is its last row, or undefined if the page is empty. */
export function paginationOf(limit: number, more: boolean, last: PageToken | undefined): z.output<typeof pagination> {
  return { limit, next_cursor: more && last !== undefined ? writeCursor(last) : null, has_more: more };
}

function writeCursor({ at, id }: PageToken): string {
  return Buffer.from(JSON.stringify([at, id])).toString('base64url');
}

function readCursor(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString());
  } catch {
    return null;
  }
}
