/** What one read of the tail found. */
export interface TailRead {
  /** Committed transactions that wrote events. */
  readonly commits: number;
  /** Every transaction with a lower number has ended. */
  readonly xmin: bigint;
}

/** The tail, as the doorbell uses it. Every method rejects with `Unavailable` while the database cannot be reached. */
export interface ReadableTail {
  /** Reads once, and reports the movements that it finds. */
  read(): Promise<TailRead>;
  /** Returns a transaction number above all those that were assigned before the call. */
  newestTransaction(): Promise<bigint>;
  /** Rings for the other gateways: while this one is awake, writers do not ring. */
  ring(): Promise<void>;
}

/** The advisory lock that is held while a gateway is awake. */
export interface Gate {
  /** Queues for the gate. Calls `onTaken` when it is held, and `onLost` if the database session that holds or queues ends. */
  take(events: { onTaken(): void; onLost(): void }): void;
  /** Reports that the gateway is alive and reading. Without it the other gateways take the gate after a while. */
  renew(): void;
  /** Releases the gate, or leaves the queue. Resolves when no later probe can find the gate held by this gateway. */
  leave(): Promise<void>;
}
