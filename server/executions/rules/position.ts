/** The numbering of the logs of all executions, in SQL. */
export const EPOCH = `(SELECT s.epoch FROM rowcast.streams s WHERE s.name = 'execution')`;

/** The seq after the last one of the execution `e` that was deleted, in SQL. */
export const FLOOR = 'coalesce(rowcast.execution_floor(e.execution_id), 1)';

/** The seq of the last event of the execution `e`, in SQL: also where its rows were deleted. */
export const HEAD = `greatest(
    (SELECT max(l.seq) FROM @extschema@.agent_execution_logs l WHERE l.execution_id = e.execution_id),
    ${FLOOR} - 1)`;

/** The position of the execution `e` in the snapshot of the statement, in SQL: whoever subscribes from it misses nothing. */
export const POSITION = `${EPOCH} || '.' || ${HEAD}`;
