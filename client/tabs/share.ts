/**
 * One connection for all tabs of a group. One of them leads, and has the connection; the others reach it over a link to
 * the leading tab, which is the best rung of their ladders. If that does not work, because the leader hangs or the token
 * cannot be shared, a tab connects by itself, and tries to share again later.
 */
import { Backoff } from '../ground/backoff.js';
import { systemClock } from '../ground/clock.js';
import type { RowcastError } from '../ground/error.js';
import type { Connection, ConnectionEvents } from '../session/connection.js';
import { type Environment, platformEnvironment, type Scope } from '../session/environment.js';
import { BACKOFF, memoryOf, openSession, rungsOf, type SessionOptions, tokenOf } from '../session/open.js';
import { Session } from '../session/session.js';
import { type Browser, browserOf, holdLock } from './browser.js';
import { identityOf } from './identity.js';
import { Leader } from './leader.js';
import { TabLink } from './link.js';

/** The version of the messages between tabs. Tabs with different versions do not share. */
const VERSION = 1;

/** The group that this tab is part of. Each of its tabs waits for one lock; the tab that holds it leads. */
interface Membership {
  readonly group: string;
  leave(): void;
}

/** A connection that is shared between tabs, if the platform can share; else one of its own. */
export function sharedConnection(
  options: SessionOptions,
  share: string,
  events: ConnectionEvents,
  browser: Browser | null = browserOf(globalThis),
  scope: Scope = globalThis as Scope,
): Connection {
  if (browser === null) return openSession(options, events);
  const { url, numbers = 'number', json = JSON } = options;
  const token = tokenOf(options);
  const platform = platformEnvironment(systemClock, scope);
  const rungs = rungsOf(options);
  let membership: Membership | null = null;
  let fatal: RowcastError | undefined;
  let hint = () => {};

  const groupOf = (token: string | undefined) => {
    const identity = identityOf(token);
    return identity === null ? null : `rowcast ${JSON.stringify([VERSION, url, share, numbers, identity])}`;
  };

  const leave = () => {
    membership?.leave();
    membership = null;
  };

  const enter = (group: string) => {
    if (membership?.group === group) return;
    leave();
    let leader: Leader | null = null;
    const release = holdLock(
      browser,
      group,
      () => {
        leader = new Leader({ browser, group, json, open: (events) => openAsLeader(group, events), onWanted });
      },
      () => {},
    );
    membership = {
      group,
      leave() {
        leader?.close(); // before another tab gets the lock
        release();
      },
    };
  };

  /** The timers of a hidden page are slow, so a leader that is hidden does not wait for them when a visible tab needs it. */
  const onWanted = () => {
    if (scope.document?.visibilityState === 'hidden') hint();
  };

  /** The connection of the leader to the gateway. */
  const openAsLeader = (group: string, events: ConnectionEvents) =>
    makeSession({
      rungs,
      memory: memoryOf(options),
      async token() {
        const present = await token();
        if (groupOf(present) === group) return present;
        leave(); // another principal uses this tab now: its token must not serve the other tabs
        throw new Error('the token belongs to another principal');
      },
      environment: {
        watch(onHint, onSuspend) {
          hint = onHint;
          return platform.watch(onHint, onSuspend);
        },
      },
      events: {
        ...events,
        onState(state, error) {
          events.onState(state, error);
          if (state !== 'closed' || error === undefined) return;
          // The refusal concerns this tab alone: another one may have a token that works.
          fatal = error;
          session.close();
        },
      },
    });

  const session = makeSession({
    rungs: [
      {
        name: 'tabs',
        open(events) {
          queueMicrotask(() => events.onOpen());
          return new TabLink({ browser, events, json, groupOf, enter });
        },
      },
      ...rungs,
    ],
    token,
    environment: {
      watch(onHint, onSuspend) {
        // A page that is frozen, or kept by the browser, cannot lead.
        const stop = platform.watch(onHint, () => {
          leave();
          onSuspend?.();
        });
        scope.document?.addEventListener('freeze', leave);
        return () => {
          scope.document?.removeEventListener('freeze', leave);
          stop();
        };
      },
    },
    events: {
      ...events,
      onState(state, error) {
        if (state === 'closed') leave();
        events.onState(state, error ?? fatal);
      },
    },
  });
  return session;
}

function makeSession(
  options: Omit<ConstructorParameters<typeof Session>[0], 'clock' | 'backoff'> & { environment: Environment },
): Session {
  return new Session({ clock: systemClock, backoff: new Backoff(BACKOFF), ...options });
}
