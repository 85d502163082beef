/** SQL: the epoch of the stream `execution`. */
export const EPOCH = `(SELECT s.epoch FROM rowcast.streams s WHERE s.name = 'execution')`;

/** SQL: the floor of the execution `e`, the seq after the last deleted one. */
export const FLOOR = 'coalesce(rowcast.execution_floor(e.execution_id), 1)';

/** SQL: the head of the execution `e`, which does not fall when its rows are deleted. */
export const HEAD = `greatest(
    (SELECT max(l.seq) FROM @extschema@.agent_execution_logs l WHERE l.execution_id = e.execution_id),
    ${FLOOR} - 1)`;

/** SQL: the position of the execution `e` in the snapshot of the statement. A subscription from it continues without a gap. */
export const POSITION = `${EPOCH} || '.' || ${HEAD}`;
