/** One client, of whatever kind. */
export interface Reader {
  readonly connected: boolean;
  /** The way down that it is connected by, where there are several. */
  readonly transport?: string | null;
  /** Of one that keeps no position: whether it has all of a channel. */
  holds?(channel: string, wanted: string): boolean;
  start(): void;
  /** From now on it stays, and reads as fast as it can. */
  finish(): void;
  close(): void;
}
