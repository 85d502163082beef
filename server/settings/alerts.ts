import { z } from 'zod';
import type { Setting } from './setting.js';

const SECRET = /^whsec_([A-Za-z0-9+/]+={0,2})$/;

/** The number of bytes of the key, as Standard Webhooks bounds it. */
const MIN_KEY = 24;
const MAX_KEY = 64;

function isSecret(text: string): boolean {
  const { length } = Buffer.from(SECRET.exec(text)?.[1] ?? '', 'base64');
  return length >= MIN_KEY && length <= MAX_KEY;
}

/** Where alerts on executions are sent. */
export const alertSettings = {
  alertUrl: {
    env: 'ROWCAST_ALERT_URL',
    schema: z
      .url({ protocol: /^https?$/, error: 'must be a URL such as https://alerts.example/rowcast' })
      .refine((url) => !URL.canParse(url) || new URL(url).username + new URL(url).password === '', {
        error: 'must have no user name and no password; the signature shows who sends',
      })
      .optional(),
    unit: 'URL',
    about:
      'Where alerts on executions are sent, by POST. Without it there are none. It requires `ROWCAST_ALERT_SECRET`.',
  },
  alertSecret: {
    env: 'ROWCAST_ALERT_SECRET',
    schema: z
      .string()
      .refine(
        isSecret,
        `must be whsec_ and ${MIN_KEY} to ${MAX_KEY} bytes in base64: echo whsec_$(openssl rand -base64 32)`,
      )
      .optional(),
    unit: 'text',
    about:
      'Secret that alerts are signed with as Standard Webhooks specifies: `whsec_` and 24 to 64 random bytes in base64.',
    file: true,
  },
} as const satisfies Record<string, Setting>;
