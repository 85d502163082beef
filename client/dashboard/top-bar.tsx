import { type ReactElement, useEffect, useId, useState } from 'react';
import { useWebSocketConnection } from '../react/index.js';
import { ConnectionStatus, type TimeFormat } from '../react/ui/index.js';
import { setToken, tokenNow } from './access.js';
import { useTheme } from './choices.js';
import { HAS_ENGINE } from './engine/engine-api.js';
import { Link } from './link.js';
import { usePlace } from './places.js';

interface TopBarProps {
  readonly times: TimeFormat;
  readonly onTimes: () => void;
  readonly onToken: () => void;
  readonly onHelp: () => void;
}

const PAGES = [
  ['/', 'Executions', ['executions', 'execution']],
  ...(HAS_ENGINE ? ([['/engine', 'Engine', ['engine']]] as const) : []),
  ['/c/', 'Channels', ['channels', 'channel']],
  ['/gateway', 'Gateway', ['gateway']],
] as const;

export function TopBar({ times, onTimes, onToken, onHelp }: TopBarProps): ReactElement {
  const { place } = usePlace();
  const { only, error } = useWebSocketConnection();
  const [theme, nextTheme] = useTheme();
  const refused = error !== null && ['unauthorized', 'token_expired'].includes(error.code);
  const shownTimes = times === 'utc' ? 'UTC' : times;
  const [asking, setAsking] = useState(false);
  useEffect(() => {
    if (refused) setAsking(true); // and it stays open: the next error may be another one while a token is typed
  }, [refused]);
  return (
    <header className="bar">
      <Link to="/" className="bar__name">
        <Mark />
        Rowcast
      </Link>
      <nav className="bar__nav" aria-label="Pages">
        {PAGES.map(([to, name, pages]) => (
          <Link key={to} to={to} className="bar__link" current={(pages as readonly string[]).includes(place.page)}>
            {name}
          </Link>
        ))}
      </nav>
      <div className="bar__end">
        <ConnectionStatus onOnly={only} />
        <button
          type="button"
          className="rc-button rc-button--quiet"
          aria-expanded={asking}
          onClick={() => setAsking(!asking)}
        >
          Token
        </button>
        <button
          type="button"
          className="rc-button rc-button--quiet bar__times"
          aria-label={`Times: ${shownTimes}`}
          title={`Times: ${shownTimes}`}
          onClick={onTimes}
        >
          {shownTimes}
        </button>
        <button
          type="button"
          className="rc-button rc-button--quiet"
          aria-label={`Colours: ${theme}`}
          title={`Colours: ${theme}`}
          onClick={nextTheme}
        >
          <span aria-hidden="true">{theme === 'dark' ? '☾' : theme === 'light' ? '☀' : '◐'}</span>
        </button>
        <button type="button" className="rc-button rc-button--quiet" aria-label="Help and keys" onClick={onHelp}>
          <span aria-hidden="true">?</span>
        </button>
      </div>
      {asking && (
        <TokenForm
          label={
            !refused
              ? 'Token'
              : error.code === 'unauthorized'
                ? 'This gateway wants a token.'
                : 'The token has expired.'
          }
          onToken={() => {
            setAsking(false);
            onToken();
          }}
        />
      )}
    </header>
  );
}

function TokenForm({ label, onToken }: { readonly label: string; readonly onToken: () => void }): ReactElement {
  const id = useId();
  const [token, change] = useState(tokenNow() ?? '');
  return (
    <form
      className="token"
      onSubmit={(event) => {
        event.preventDefault();
        setToken(token.trim());
        onToken();
      }}
    >
      <label htmlFor={id}>{label}</label>
      <input
        id={id}
        className="rc-input token__field"
        type="password"
        autoComplete="off"
        spellCheck={false}
        value={token}
        placeholder="eyJ…"
        onChange={({ target }) => change(target.value)}
      />
      <button type="submit" className="rc-button rc-button--primary">
        Use it
      </button>
      <span className="token__note">It stays in this tab. `npx rowcast token` makes one.</span>
    </form>
  );
}

function Mark(): ReactElement {
  return (
    <svg className="bar__mark" viewBox="0 0 32 32" aria-hidden="true" focusable="false">
      <rect width="32" height="32" rx="8" className="bar__mark-ground" />
      <g fill="none" stroke="#fff" strokeWidth="2.6" strokeLinecap="round">
        <path d="M8 10h9" />
        <path d="M8 16h13" opacity=".75" />
        <path d="M8 22h6" opacity=".5" />
        <path d="M21.5 8.5a9 9 0 0 1 3 7.5" />
      </g>
    </svg>
  );
}
