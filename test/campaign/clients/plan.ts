/**
 * By WebSocket. `steady`: the client library, from the start to the end. `loop`: the same with `for await`, some of them slow.
 * `raw`: speaks the protocol by itself, over a socket that hides nothing. `slow`: the same, and stops reading for seconds.
 * `nomad`: comes and goes; every visit is a new client that goes on at the last position.
 * `replayer`: comes and goes; every visit begins at the start again.
 *
 * By other ways. `sse`, `long-poll`, `interval`: the client library, held to one of them. `ladder`: the client library with
 * all of them, behind doors that the campaign shuts and opens. `raw-sse`: reads the stream as an EventSource does. `raw-poll`:
 * asks with positions. `durable`: the client of Durable Streams, with offsets that it keeps. `follower`: live collections of a tracked
 * table.
 */
export const KINDS = [
  'steady',
  'loop',
  'raw',
  'slow',
  'nomad',
  'replayer',
  'sse',
  'long-poll',
  'interval',
  'ladder',
  'raw-sse',
  'raw-poll',
  'durable',
  'follower',
] as const;
export type Kind = (typeof KINDS)[number];

export interface ClientPlan {
  readonly name: string;
  readonly kind: Kind;
  readonly channels: readonly string[];
  readonly seed: number;
}

/** Where each way down begins: a port for each gateway. */
export interface Ports {
  readonly websocket: readonly number[];
  readonly sse: readonly number[];
  readonly poll: readonly number[];
}

/** What the process of the clients is told. */
export type Order =
  | { type: 'start'; ports: Ports; doors: Ports; clients: readonly ClientPlan[]; folder: string }
  /** The network has changed, as a browser would say it. */
  | { type: 'sign' }
  /** Nothing more is written: everybody comes and reads as fast as it can. */
  | { type: 'finish' }
  /** Who has not arrived at these positions yet, or does not hold these rows of a board? The answer repeats the number. */
  | { type: 'ask'; number: number; heads: Readonly<Record<string, string>> }
  | { type: 'close' };

/** What it tells. */
export type Report =
  | {
      type: 'status';
      number: number;
      deliveries: number;
      connected: number;
      behind: readonly string[];
      /** By which way each `ladder` client is connected, null for one that is not, and what it has got so far. */
      ladders: readonly { readonly transport: string | null; readonly deliveries: number }[];
      lagMs: number;
    }
  | { type: 'closed'; clients: readonly ClientReport[]; worstLagMs: number };

export interface ClientReport {
  readonly name: string;
  readonly kind: Kind;
  readonly channels: readonly string[];
  readonly deliveries: number;
  readonly connections: number;
  readonly resets: number;
  /** From one way down to a worse one, and to a better one, each time with a connection on both. */
  readonly moves: Moves;
  /** Rows whose checksum was wrong. */
  readonly broken: number;
  /** What it was answered and must not have been. */
  readonly faults: readonly string[];
  /** Between two events, while there were any; in milliseconds. */
  readonly longestSilence: number;
  /** The file with what it saw. */
  readonly history: string;
}

export interface Moves {
  readonly down: number;
  readonly up: number;
}
