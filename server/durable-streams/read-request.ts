import { z } from 'zod';
import { Refusal } from '../ground/refusal.js';
import { sinceOf } from './offset.js';

/** The default and the maximum wait of a long poll, in seconds. */
const DEFAULT_TIMEOUT = 20;
const MAX_TIMEOUT = 60;

const query = z
  .object({
    offset: z
      .string()
      .transform((offset, context) => {
        const since = sinceOf(offset);
        if (since === null)
          context.addIssue({ code: 'custom', message: 'must be -1, now, or the offset of a response' });
        return since ?? '';
      })
      .optional(),
    live: z.enum(['long-poll', 'sse']).optional(),
    // Only caches use it, so that an invalid value is ignored.
    cursor: z
      .string()
      .regex(/^\d{1,15}$/)
      .transform(Number)
      .optional()
      .catch(undefined),
    timeout: z.coerce.number<string>().min(0).max(MAX_TIMEOUT).default(DEFAULT_TIMEOUT),
  })
  .refine(({ offset, live }) => live === undefined || offset !== undefined, 'offset: required for a live read');

/** A parsed read request. */
export interface ReadRequest {
  readonly since: string;
  readonly live: 'long-poll' | 'sse' | undefined;
  readonly cursor: number | undefined;
  /** How long to wait for events, in milliseconds. */
  readonly wait: number;
}

/** Parses the query of a read. Unknown parameters are ignored, as the protocol requires. Throws `Refusal` (invalid_frame). */
export function parseReadRequest(search: URLSearchParams): ReadRequest {
  const names = Object.keys(query.shape);
  const repeated = names.find((name) => search.getAll(name).length > 1);
  if (repeated !== undefined) throw new Refusal('invalid_frame', `${repeated}: must not be repeated`);
  const parsed = query.safeParse(Object.fromEntries(search));
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) => [...path, message].join(': '));
    throw new Refusal('invalid_frame', faults.join('; '));
  }
  const { offset = 'start', live, cursor, timeout } = parsed.data;
  return { since: offset, live, cursor, wait: live === 'long-poll' ? timeout * 1000 : 0 };
}
