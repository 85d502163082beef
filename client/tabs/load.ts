import { LateCarrier } from '../late.js';
import type { Carrier, SessionEvents } from '../session/connection.js';
import { type ConnectionOptions, directCarrier, rungsOf } from '../session/open.js';
import type { Browser } from './browser.js';

/** What the platform offers for sharing, or null: then each tab has a connection of its own. */
function browserOf(scope: Partial<typeof globalThis>): Browser | null {
  const { BroadcastChannel, navigator } = scope;
  // Neither is there on a page without TLS, nor the locks in every version of Node.
  const locks: Browser['locks'] | undefined = navigator?.locks;
  return BroadcastChannel === undefined || locks === undefined ? null : { BroadcastChannel, locks };
}

/** A carrier that is shared between tabs, where the platform can. Throws `TypeError` where the platform has no transport. */
export function loadedCarrier(options: ConnectionOptions, share: string, events: SessionEvents): Carrier {
  const browser = browserOf(globalThis);
  if (browser === null) return directCarrier(options, events);
  rungsOf(options); // throws now rather than later
  const load = async () => (await import('./share.js')).sharedCarrier(options, share, browser, events);
  return new LateCarrier(load, events);
}
