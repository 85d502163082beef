/** The statuses of an execution, each with those that may follow it. A final status has none. */
export const following = {
  pending: ['running', 'cancelled', 'failed'],
  running: ['paused', 'completed', 'failed', 'cancelled'],
  paused: ['running', 'failed', 'cancelled'],
  completed: [],
  failed: [],
  cancelled: [],
} as const;

export type ExecutionStatus = keyof typeof following;

/** The final statuses. */
export type FinalStatus = {
  [S in ExecutionStatus]: (typeof following)[S] extends readonly [] ? S : never;
}[ExecutionStatus];

export const STATUSES = Object.keys(following) as readonly ExecutionStatus[];

/** Whether the status is final. */
export function isFinished(status: ExecutionStatus): status is FinalStatus {
  return following[status].length === 0;
}

/** Whether a change of status is allowed. The same status again is always allowed. */
export function mayFollow(from: ExecutionStatus, to: ExecutionStatus): boolean {
  const next: readonly ExecutionStatus[] = following[from];
  return from === to || next.includes(to);
}
