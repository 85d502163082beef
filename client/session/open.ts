import { Backoff, type BackoffLimits } from '../ground/backoff.js';
import { systemClock } from '../ground/clock.js';
import type { Fetch } from '../transport/http.js';
import { pollRung } from '../transport/poll.js';
import type { Rung } from '../transport/rung.js';
import { sseRung } from '../transport/sse.js';
import { type WebSocketConstructor, websocketRung } from '../transport/websocket.js';
import type { Carrier, SessionEvents } from './connection.js';
import { platformEnvironment } from './environment.js';
import { remembered } from './remembered.js';
import { type Remembered, Session } from './session.js';

/** What leads to a gateway, the best first. */
export const LADDER = ['websocket', 'sse', 'poll'] as const;
export type Transport = (typeof LADDER)[number];

/** Between attempts, in milliseconds. */
export const BACKOFF: BackoffLimits = { base: 250, cap: 30_000 };

export interface ConnectionOptions {
  /** Where the gateway is: `http://127.0.0.1:4400`. */
  readonly url: string;
  /** A token, or where to get one: asked anew for each connection. */
  readonly token?: string | (() => string | Promise<string>);
  /** Which ways to the gateway may be used; all of them, unless said otherwise. They are tried in the order `websocket`, `sse`, `poll`. */
  readonly transports?: readonly Transport[];
  /** Where the platform's own is not to be used, or it has none, as Node 20: that of the package `ws`. */
  readonly WebSocket?: WebSocketConstructor;
  readonly fetch?: Fetch;
}

/** A session of its own with the gateway. Throws `TypeError` where the platform has none of the transports. */
export function directCarrier(options: ConnectionOptions, events: SessionEvents): Carrier {
  return new Session({
    rungs: rungsOf(options),
    remembered: memoryOf(options),
    token: tokenOf(options),
    clock: systemClock,
    backoff: new Backoff(BACKOFF),
    environment: platformEnvironment(systemClock),
    events,
  });
}

/** A client that may not use every way neither learns nor teaches which one is the best. */
export function memoryOf({ url, transports }: ConnectionOptions): Remembered | undefined {
  return transports === undefined ? remembered(url, systemClock) : undefined;
}

export function tokenOf({ token }: ConnectionOptions): () => Promise<string | undefined> {
  return async () => (typeof token === 'function' ? token() : token);
}

/** The ways that this platform has. Throws `TypeError` where it has none, and for options that name none. */
export function rungsOf({ url, transports = LADDER, ...given }: ConnectionOptions): readonly Rung[] {
  if (!Array.isArray(transports) || transports.length === 0 || !transports.every((name) => LADDER.includes(name)))
    throw new TypeError(`transports: a list of some of ${LADDER.join(', ')}`);
  const { WebSocket = globalThis.WebSocket, fetch = globalThis.fetch } = given;
  // A browser's fetch works only as a method of its window.
  const bound: Fetch = (input, init) => fetch(input, init);
  const makers: Record<Transport, () => Rung | null> = {
    websocket: () => (WebSocket === undefined ? null : websocketRung(url, WebSocket)),
    sse: () => (fetch === undefined ? null : sseRung(url, bound)),
    poll: () => (fetch === undefined ? null : pollRung(url, bound)),
  };
  const rungs = LADDER.filter((name) => transports.includes(name)).flatMap((name) => makers[name]() ?? []);
  if (rungs.length === 0) throw new TypeError(`this platform has none of ${transports}`);
  return rungs;
}
