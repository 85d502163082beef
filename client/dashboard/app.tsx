/** The page: its store, the bar at the top, and the page that the address names. */
import { type ReactElement, useEffect, useMemo, useState } from 'react';
import { RowcastProvider } from '../react/index.js';
import { Announcer, TimeFormatContext, type Verbosity } from '../react/ui/index.js';
import { createLiveStore } from '../store/index.js';
import { tokenExpiry, tokenNow } from './access.js';
import { ChannelPage } from './channel-page.js';
import { ChannelsPage } from './channels-page.js';
import { useTimeFormat } from './choices.js';
import { EnginePage } from './engine/engine-page.js';
import { ExecutionPage } from './execution-page.js';
import { ExecutionsPage } from './executions-page.js';
import { GatewayPage } from './gateway-page.js';
import { Help } from './help.js';
import { Link } from './link.js';
import { ROOT, usePlace } from './places.js';
import { useShortcuts } from './shortcuts.js';
import { TopBar } from './top-bar.js';

/** The URL of the gateway, without the slash at its end. */
const URL_OF_GATEWAY = ROOT.href.replace(/\/$/, '');

/**
 * A gateway whose client has no fresh token sends nothing, and waits for half a minute. This page has none before one is entered:
 * soon after the expiry it connects anew, is refused, and shows what it has as old. Milliseconds: how long the gateway goes on
 * taking the token, and the longest time of a timer.
 */
const TOLERANCE = 6_000;
const LONGEST = 2 ** 31 - 1;

export function App(): ReactElement {
  // With another token everything is read anew.
  const [tokens, setTokens] = useState(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: see above
  const store = useMemo(() => createLiveStore({ url: URL_OF_GATEWAY, token: tokenNow, times: true }), [tokens]);
  useEffect(() => () => store.close(), [store]);
  useEffect(() => {
    const expiry = tokenExpiry();
    if (expiry === null) return;
    const timer = setTimeout(store.reconnect, Math.min(Math.max(0, expiry + TOLERANCE - Date.now()), LONGEST));
    return () => clearTimeout(timer);
  }, [store]);
  const [verbosity, setVerbosity] = useState<Verbosity>('all');
  const [helping, setHelping] = useState(false);
  const [times, nextTimes] = useTimeFormat();
  useShortcuts({ '?': () => setHelping(true) });
  return (
    <RowcastProvider store={store}>
      <Announcer verbosity={verbosity}>
        <a className="skip" href="#content">
          Skip to the content
        </a>
        <TopBar
          times={times}
          onTimes={nextTimes}
          onToken={() => setTokens(tokens + 1)}
          onHelp={() => setHelping(true)}
        />
        <main id="content" className="content" tabIndex={-1} key={tokens}>
          <TimeFormatContext value={times}>
            <Content />
          </TimeFormatContext>
        </main>
        {helping && <Help verbosity={verbosity} onVerbosity={setVerbosity} onClose={() => setHelping(false)} />}
      </Announcer>
    </RowcastProvider>
  );
}

function Content(): ReactElement {
  const { place, query } = usePlace();
  switch (place.page) {
    case 'executions':
      return <ExecutionsPage query={query} />;
    case 'execution':
      return <ExecutionPage key={place.id} id={place.id} query={query} />;
    case 'channels':
      return <ChannelsPage />;
    case 'channel':
      return <ChannelPage key={place.channel} channel={place.channel} query={query} />;
    case 'engine':
      return <EnginePage query={query} />;
    case 'gateway':
      return <GatewayPage query={query} />;
    case 'unknown':
      return (
        <div className="message">
          <h1>There is no such page</h1>
          <p>
            <Link to="/">Executions</Link>
          </p>
        </div>
      );
  }
}
