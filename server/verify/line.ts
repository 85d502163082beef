import { type Position, parsePosition } from '@rowcast/client/protocol';
import { z } from 'zod';

/** A history cannot be read: the file is missing, or a line is malformed. */
export class BadHistory extends Error {
  override readonly name = 'BadHistory';
}

const position = z.string().transform((text, context): Position => {
  const found = parsePosition(text);
  if (found !== null) return found;
  context.addIssue({ code: 'custom', message: 'is not a position like 58326d.42' });
  return z.NEVER;
});

const since = z.union(
  [
    z.enum(['start', 'now']),
    z
      .string()
      .regex(/^\d{1,15}$/)
      .transform(Number),
    position,
  ],
  {
    error: 'is not start, now, a seq or a position',
  },
);

const common = { at: z.number(), client: z.string().min(1), channel: z.string().min(1) };

const line = z.discriminatedUnion('type', [
  z.object({ ...common, type: z.literal('begin'), since }),
  z.object({ ...common, type: z.literal('subscribed'), position }),
  z.object({
    ...common,
    type: z.literal('event'),
    position,
    row: z.record(z.string(), z.unknown()).optional(),
    digest: z
      .string()
      .regex(/^[0-9a-f]{16}$/, 'is not 16 hexadecimal digits')
      .optional(),
  }),
  z.object({ ...common, type: z.literal('reset'), reason: z.string(), position }),
  z.object({ ...common, type: z.literal('end'), position }),
]);

/** One line of a recorded history, as described in docs/reference/history.md. */
export type HistoryLine = z.infer<typeof line>;

/** Parses one line. Throws `BadHistory`. */
export function parseLine(text: string): HistoryLine {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new BadHistory('is not JSON');
  }
  const parsed = line.safeParse(value);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  throw new BadHistory([issue?.path.join('.'), issue?.message].filter(Boolean).join(': '));
}
