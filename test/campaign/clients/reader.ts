/** One client, of whatever kind. */
export interface Reader {
  readonly connected: boolean;
  start(): void;
  /** From now on it stays, and reads as fast as it can. */
  finish(): void;
  close(): void;
}
