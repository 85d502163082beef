/** What a world of doorbells is made of, and the times in it; in milliseconds. */

export const INTERVAL = 5;
/** Longer than a window of the doorbell's rates, so that they are weighed anew. */
export const WINDOW = 501;
/** The safety interval: so long that no safety read helps, unless the test lets so much time pass. */
export const NEVER = 1e12;

export interface WorldOptions {
  readonly writers: number;
  readonly gateways?: number;
  readonly wakeRate: number;
  readonly sleepRate: number;
  /** What settling waits for: `number` is the real one, the others are known to be wrong. */
  readonly settling?: 'number' | 'snapshot' | 'nothing';
  /** Every tenth read fails, and so does the connection. */
  readonly failing?: boolean;
  /** Rings that are on their way to one gateway arrive as one. */
  readonly merging?: boolean;
  /** An answer of Postgres arrives as soon as it is given. */
  readonly prompt?: boolean;
}

export interface Writer {
  /** `open`: has inserted, and so has a transaction number. `probed`: has tried the gate. */
  state: 'idle' | 'open' | 'probed';
  xid: bigint;
  /** The gateways that held the gate or queued for it at the probe: where there was one, the commit does not ring. */
  trusted: readonly number[];
  rows: number;
}

/** The session that holds the gate or queues for it. `asked`: the question has not reached Postgres yet. */
export interface Visit {
  readonly by: number;
  lock: 'asked' | 'taken' | 'free';
  readonly onTaken: () => void;
  readonly onLost: () => void;
}
