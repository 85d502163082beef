/** Every status of an execution, and those that may follow it. A finished one is followed by none. */
export const following = {
  pending: ['running', 'cancelled', 'failed'],
  running: ['paused', 'completed', 'failed', 'cancelled'],
  paused: ['running', 'failed', 'cancelled'],
  completed: [],
  failed: [],
  cancelled: [],
} as const;

export type ExecutionStatus = keyof typeof following;

/** The statuses that nothing follows. */
export type FinalStatus = {
  [S in ExecutionStatus]: (typeof following)[S] extends readonly [] ? S : never;
}[ExecutionStatus];

export const STATUSES = Object.keys(following) as readonly ExecutionStatus[];

/** Whether nothing can happen to the execution any more. */
export function isFinished(status: ExecutionStatus): status is FinalStatus {
  return following[status].length === 0;
}

/** Whether a change is allowed. The same status again is no change, and always allowed. */
export function mayFollow(from: ExecutionStatus, to: ExecutionStatus): boolean {
  const next: readonly ExecutionStatus[] = following[from];
  return from === to || next.includes(to);
}
