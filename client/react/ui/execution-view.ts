'use client';
export const TABS = ['log', 'steps', 'metrics', 'errors', 'health', 'raw'] as const;
export type ExecutionTab = (typeof TABS)[number];

/** What of it is shown, as a page keeps it in its address. */
export interface ExecutionView {
  readonly tab?: ExecutionTab | undefined;
  readonly q?: string | undefined;
  readonly level?: string | undefined;
  readonly agent?: string | undefined;
  /** The seq of the moment that is shown; the latest if there is none. */
  readonly at?: number | undefined;
  /** The seq of the row that is marked in the log. */
  readonly row?: number | undefined;
}
