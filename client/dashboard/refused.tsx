import type { ReactElement } from 'react';
import { useRowcast } from '../react/index.js';

interface RefusedProps {
  readonly error: { readonly code: string; readonly message: string };
  /** What cannot be read: `execution`, `venture` or `channel`. */
  readonly what: string;
}

const TEXTS: Readonly<Record<string, readonly [string, string]>> = {
  unauthorized: ['A token is needed', 'Enter one above: “Token”. Pasting works.'],
  token_expired: ['The token has expired', 'Enter a new one above: “Token”.'],
  forbidden: ['You may not read this', 'Ask the owner to make you a member.'],
  unavailable: ['The gateway does not answer', 'It is tried again.'],
  rate_limited: ['Too many requests', 'It is tried again in a moment.'],
};

/** Why something cannot be read, and what to do about it. */
export function Refused({ error, what }: RefusedProps): ReactElement {
  const { reconnect } = useRowcast();
  const unknown = error.code.startsWith('unknown_');
  const [title, hint] = unknown
    ? [`There is no such ${what}`, 'It may have been deleted.']
    : (TEXTS[error.code] ?? [`This ${what} cannot be read`, error.message]);
  return (
    <div className="message" role="alert">
      <h1>{title}</h1>
      <p>{hint}</p>
      <p>
        <button type="button" className="rc-button" onClick={reconnect}>
          Try again
        </button>
      </p>
      <p className="message__code">
        <code>{error.code}</code>
      </p>
    </div>
  );
}
