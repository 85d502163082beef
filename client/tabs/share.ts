import { Backoff } from '../ground/backoff.js';
import { systemClock } from '../ground/clock.js';
import type { RowcastError } from '../ground/error.js';
import type { Carrier, SessionEvents } from '../session/connection.js';
import { type Environment, platformEnvironment, type Scope } from '../session/environment.js';
import { BACKOFF, type ConnectionOptions, memoryOf, rungsOf, tokenOf } from '../session/open.js';
import { Session } from '../session/session.js';
import { type Browser, holdLock } from './browser.js';
import { identityOf } from './identity.js';
import { Leader } from './leader.js';
import { TabLink } from './link.js';

/** The version of what tabs say to each other: those with different ones do not meet. */
const VERSION = 1;

/** The tabs with which this one shares: to be the leader of a group, a tab queues for the lock of its name. */
interface Membership {
  readonly group: string;
  leave(): void;
}

/**
 * One connection for all tabs of a group. The way to the leading tab is the best rung of this tab's ladder: where that
 * does not work, because the leader hangs or the token names nobody, the tab connects by itself, and tries again.
 */
export function sharedCarrier(
  options: ConnectionOptions,
  share: string,
  browser: Browser,
  events: SessionEvents,
  scope: Scope = globalThis,
): Carrier {
  const { url } = options;
  const token = tokenOf(options);
  const platform = platformEnvironment(systemClock, scope);
  const rungs = rungsOf(options);
  let membership: Membership | null = null;
  let fatal: RowcastError | undefined;
  let wake = () => {};

  const groupOf = (token: string | undefined) => {
    const identity = identityOf(token);
    return identity === null ? null : `rowcast ${JSON.stringify([VERSION, url, share, identity])}`;
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
        leader = new Leader({ browser, group, carry: (events) => carry(group, events), onWanted });
      },
      () => {},
    );
    membership = {
      group,
      leave() {
        leader?.close(); // before the next one leads
        release();
      },
    };
  };

  /** The timers of a page that nobody looks at are slow, but somebody may look at another tab. */
  const onWanted = () => {
    if (scope.document?.visibilityState === 'hidden') wake();
  };

  /** The leader's connection to the gateway. */
  const carry = (group: string, events: SessionEvents) =>
    makeSession({
      rungs,
      remembered: memoryOf(options),
      async token() {
        const present = await token();
        if (groupOf(present) === group) return present;
        leave(); // whoever uses this tab now is somebody else: the others are not to be served with this token
        throw new Error('the token is of another principal');
      },
      environment: {
        watch(onSign, onRest) {
          wake = onSign;
          return platform.watch(onSign, onRest);
        },
      },
      events: {
        ...events,
        onState(state, error) {
          events.onState(state, error);
          if (state !== 'closed' || error === undefined) return;
          // It says so to this tab alone: another one may have a token that works.
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
          return new TabLink(browser, events, groupOf, enter);
        },
      },
      ...rungs,
    ],
    token,
    environment: {
      watch(onSign, onRest) {
        // A page that is kept, or frozen, can lead nobody.
        const stop = platform.watch(onSign, () => {
          leave();
          onRest?.();
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
