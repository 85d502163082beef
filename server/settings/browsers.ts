import { z } from 'zod';
import type { Setting } from './setting.js';

const FORM = /^[a-z][a-z0-9+.-]*:\/\/(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?$/;

/** Whether a text is an origin exactly as browsers send it. Any other spelling would never match. */
function isOrigin(text: string): boolean {
  return FORM.test(text) && (!/^https?:/.test(text) || (URL.canParse(text) && new URL(text).origin === text));
}

const origins = z.string().transform((text, { addIssue }): '*' | readonly string[] => {
  if (text === '*') return '*';
  const listed = text.split(',').map((entry) => entry.trim());
  for (const entry of listed.filter((entry) => !isOrigin(entry))) {
    const fault = `${JSON.stringify(entry)} is not an origin: write each as https://app.example.com, exactly`;
    addIssue({ code: 'custom', message: `${fault}, without a path, a default port or a *` });
  }
  return listed;
});

/** Which web pages are admitted, and where a browser keeps its token. */
export const browserSettings = {
  origins: {
    env: 'ROWCAST_ORIGINS',
    schema: origins.default('*'),
    unit: 'list',
    about:
      'Origins whose pages may use the gateway, `https://app.example.com,https://admin.example.com`; `*` admits all. Pages served from the address of the gateway itself need no entry, unless `ROWCAST_COOKIE` is set. Without a key for tokens only pages of this machine are admitted.',
  },
  cookie: {
    env: 'ROWCAST_COOKIE',
    schema: z
      .string()
      .regex(/^[\w!#$%&'*+.^`|~-]+$/, 'must be the name of a cookie')
      .optional(),
    unit: 'name',
    about:
      'Name of the cookie that holds the token of a browser, used for requests without a token of their own. It requires a list in `ROWCAST_ORIGINS`.',
  },
} as const satisfies Record<string, Setting>;
