/**
 * `steady`: the client library, from the start to the end. `loop`: the same with `for await`, some of them slow.
 * `raw`: speaks the protocol by itself, over a socket that hides nothing. `slow`: the same, and stops reading for seconds.
 * `nomad`: comes and goes; every visit is a new client that goes on at the last position.
 * `replayer`: comes and goes; every visit begins at the start again.
 */
export type Kind = 'steady' | 'loop' | 'raw' | 'slow' | 'nomad' | 'replayer';

export interface ClientPlan {
  readonly name: string;
  readonly kind: Kind;
  readonly channels: readonly string[];
  readonly seed: number;
}

/** What the process of the clients is told. */
export type Order =
  | { type: 'start'; ports: readonly number[]; clients: readonly ClientPlan[]; folder: string }
  /** Nothing more is written: everybody comes and reads as fast as it can. */
  | { type: 'finish' }
  /** Who has not arrived at these positions yet? */
  | { type: 'ask'; heads: Readonly<Record<string, string>> }
  | { type: 'close' };

/** What it tells. */
export type Report =
  | { type: 'status'; deliveries: number; connected: number; behind: readonly string[]; lagMs: number }
  | { type: 'closed'; clients: readonly ClientReport[]; worstLagMs: number };

export interface ClientReport {
  readonly name: string;
  readonly kind: Kind;
  readonly channels: readonly string[];
  readonly deliveries: number;
  readonly connections: number;
  readonly resets: number;
  /** Rows whose checksum was wrong. */
  readonly broken: number;
  /** Between two events, while there were any; in milliseconds. */
  readonly longestSilence: number;
  /** The file with what it saw. */
  readonly history: string;
}
