/** What one read of the tail found. */
export interface TailRead {
  /** Committed transactions that wrote events. */
  readonly commits: number;
  /** Every transaction with a lower number had ended. */
  readonly xmin: bigint;
}

/** The tail, as the doorbell uses it. Every method rejects with `Unavailable` while the database cannot be reached. */
export interface ReadableTail {
  /** Reads once, and reports the movements that it finds. */
  read(): Promise<TailRead>;
  /** A transaction number above all that were given out before the call. */
  newestTransaction(): Promise<bigint>;
  /** Rings for the other gateways, which writers leave asleep while this one is awake. */
  ring(): Promise<void>;
}

/** The lock that says that a gateway is awake. */
export interface Gate {
  /** Queues for the gate; `onTaken` once it is held, `onLost` if the session that held or queued has died. */
  take(events: { onTaken(): void; onLost(): void }): void;
  /** The gateway lives and reads: without that the gate is taken from it after a while. */
  renew(): void;
  /** Gives it back, or leaves the queue; resolves when every later probe finds the gate free of this gateway. */
  leave(): Promise<void>;
}
