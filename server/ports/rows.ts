/** The present rows of a channel, as texts of JSON, and the position that they belong to. */
export interface RowsPage {
  readonly position: string;
  readonly rows: readonly string[];
  /** The identity of each row: in a tracked table the `id` of its events, else the seq. */
  readonly ids: readonly string[];
  /** Whether more rows follow the last one. */
  readonly more: boolean;
}

export interface RowsRequest {
  /** The identity of the last row of the page before, or null. */
  readonly after: string | null;
  readonly limit: number;
}

/** Reads snapshots: of a tracked table the rows of a channel in the order of their identity, else the newest events. */
export interface Rows {
  /** Resolves to null if there is no such stream. Rejects with `Refusal` (invalid_channel, invalid_request) and `Unavailable`. */
  rows(channel: string, request: RowsRequest): Promise<RowsPage | null>;
  /** The position alone. */
  position(channel: string): Promise<string | null>;
}
