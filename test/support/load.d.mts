/** How many times as long work takes now as on a machine that does nothing else: tasks for each core, at least 1. */
export function load(): number;
