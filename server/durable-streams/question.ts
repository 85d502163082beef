import { z } from 'zod';
import { Refusal } from '../ground/refusal.js';
import { sinceOf } from './offset.js';

/** How long a long poll waits where it does not say, and at most; in seconds. */
const DEFAULT_TIMEOUT = 20;
const MAX_TIMEOUT = 60;

const question = z
  .object({
    offset: z
      .string()
      .transform((offset, context) => {
        const since = sinceOf(offset);
        if (since === null) context.addIssue({ code: 'custom', message: '-1, now, or one that an answer has named' });
        return since ?? '';
      })
      .optional(),
    live: z.enum(['long-poll', 'sse']).optional(),
    // It means something to caches alone: one that cannot be read is no reason to refuse.
    cursor: z
      .string()
      .regex(/^\d{1,15}$/)
      .transform(Number)
      .optional()
      .catch(undefined),
    timeout: z.coerce.number<string>().min(0).max(MAX_TIMEOUT).default(DEFAULT_TIMEOUT),
  })
  .refine(({ offset, live }) => live === undefined || offset !== undefined, 'offset: a live read has to name one');

/** What a reader asks, as its query says it. */
export interface Question {
  readonly since: string;
  readonly live: 'long-poll' | 'sse' | undefined;
  readonly cursor: number | undefined;
  /** How long to wait for events, in milliseconds. */
  readonly wait: number;
}

/** Throws `Refusal`. What is not known is passed over, as the protocol demands. */
export function readQuestion(query: URLSearchParams): Question {
  const names = Object.keys(question.shape);
  const twice = names.find((name) => query.getAll(name).length > 1);
  if (twice !== undefined) throw new Refusal('invalid_frame', `${twice}: give one`);
  const parsed = question.safeParse(Object.fromEntries(query));
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path, message }) => [...path, message].join(': '));
    throw new Refusal('invalid_frame', faults.join('; '));
  }
  const { offset = 'start', live, cursor, timeout } = parsed.data;
  return { since: offset, live, cursor, wait: live === 'long-poll' ? timeout * 1000 : 0 };
}
