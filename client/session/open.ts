import { Backoff, type BackoffLimits } from '../ground/backoff.js';
import { systemClock } from '../ground/clock.js';
import type { Json, Numbers } from '../ground/json.js';
import type { Fetch, WebSocketConstructor } from '../ground/platform.js';
import { pollRung } from '../transport/poll.js';
import type { Rung, TransportName } from '../transport/rung.js';
import { sseRung } from '../transport/sse.js';
import { websocketRung } from '../transport/websocket.js';
import type { Connection, ConnectionEvents } from './connection.js';
import { platformEnvironment } from './environment.js';
import { Session, type TransportMemory } from './session.js';
import { transportMemory } from './transport-memory.js';

/** The transports to a gateway, the best first. */
export const LADDER = ['websocket', 'sse', 'poll'] as const;
export type Transport = (typeof LADDER)[number];

/** The delays between attempts to connect, in milliseconds. */
export const BACKOFF: BackoffLimits = { base: 250, cap: 30_000 };

export interface ConnectionOptions {
  /** The URL of the gateway, for example `http://127.0.0.1:4400`. */
  readonly url: string;
  /** A token, or a function that returns one. The function is called for each connection. */
  readonly token?: string | (() => string | undefined | Promise<string | undefined>) | undefined;
  /** The transports that may be used; all by default. They are tried in the order `websocket`, `sse`, `poll`. */
  readonly transports?: readonly Transport[] | undefined;
  /** Replaces the WebSocket of the platform, or supplies one. Node.js 20 has none: pass that of the package `ws`. */
  readonly WebSocket?: WebSocketConstructor | undefined;
  /** Replaces the `fetch` of the platform, for SSE and polling. */
  readonly fetch?: Fetch | undefined;
  /**
   * What numbers of 16 and more digits become, which JavaScript would round: `number` (the default, rounded), `string`, or
   * `bigint`, where those with a fraction are strings. Others than `number` load a parser.
   */
  readonly numbers?: Numbers | undefined;
  /** Whether new events say when they were written, read and sent: see `times` of `StreamEvent`. */
  readonly times?: boolean | undefined;
}

/** `json`: what reads the frames. */
export interface SessionOptions extends ConnectionOptions {
  readonly json?: Json;
}

/** A session with the gateway. Throws `TypeError` if the platform has none of the transports. */
export function openSession(options: SessionOptions, events: ConnectionEvents): Connection {
  return new Session({
    rungs: rungsOf(options),
    memory: memoryOf(options),
    token: tokenOf(options),
    clock: systemClock,
    backoff: new Backoff(BACKOFF),
    environment: platformEnvironment(systemClock),
    times: options.times === true,
    events,
  });
}

/** A client that is limited to some transports does not use the remembered transport, and does not change it. */
export function memoryOf({ url, transports }: ConnectionOptions): TransportMemory | undefined {
  return transports === undefined ? transportMemory(url, systemClock) : undefined;
}

export function tokenOf({ token }: ConnectionOptions): () => Promise<string | undefined> {
  return async () => (typeof token === 'function' ? token() : token);
}

/** `fetch`, bound to its window: a browser refuses to call it as a method of another object. */
export function fetchOf({ fetch = globalThis.fetch }: ConnectionOptions): Fetch | undefined {
  return fetch && ((input, init) => fetch(input, init));
}

/** The rungs that this platform has. Throws `TypeError` if it has none, or if the options are wrong. */
export function rungsOf(options: SessionOptions): readonly Rung[] {
  const { url, transports = LADDER, WebSocket = globalThis.WebSocket, json } = options;
  if (!Array.isArray(transports) || transports.length === 0 || !transports.every((name) => LADDER.includes(name)))
    throw new TypeError(`transports: a list of some of ${LADDER.join(', ')}`);
  const fetch = fetchOf(options);
  const ladder = [
    WebSocket && websocketRung(url, WebSocket, json),
    fetch && sseRung(url, fetch, json),
    fetch && pollRung(url, fetch, systemClock, json),
  ];
  const used: readonly TransportName[] = transports;
  const rungs = ladder.flatMap((rung) => (rung && used.includes(rung.name) ? [rung] : []));
  if (rungs.length === 0) throw new TypeError(`this platform has none of ${transports}`);
  return rungs;
}
