/** The class of Rowcast's advisory locks: 'rowc' in ASCII. sql/core/04-doorbell.sql writes it too. */
export const LOCK_CLASS = 1919907683;

/** `gate`: held by the gateway that is awake. `migrations`, `pruning`: one process at a time. */
export const locks = { gate: 1, migrations: 2, pruning: 3 } as const;
