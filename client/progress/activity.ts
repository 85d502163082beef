/** What an event says about the activity of its execution: whether more events are to be expected soon, later or never. */
export type ExecutionState = 'pending' | 'running' | 'finished';

const STATES: Readonly<Record<string, ExecutionState>> = {
  'execution-started': 'running',
  'execution-resumed': 'running',
  'execution-paused': 'pending',
  'execution-completed': 'finished',
  'execution-failed': 'finished',
  'execution-cancelled': 'finished',
};

/**
 * The state after an event of the stream `execution`; undefined if the event does not change it. Without any event the
 * execution is pending. Other streams have no state, even if they have such a column: a channel of theirs may be about
 * many things, and not end with the first of them.
 */
export function stateOfExecution(
  row: Readonly<Record<string, unknown>> | undefined,
  channel: string,
): ExecutionState | undefined {
  if (!channel.startsWith('execution:')) return undefined;
  return row === undefined ? 'pending' : STATES[String(row.event_type)];
}
