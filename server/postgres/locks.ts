/** The first key of all advisory locks of Rowcast: 'rowc' in ASCII. sql/core/04-doorbell.sql contains it as well. */
export const LOCK_CLASS = 1919907683;

/** `gate`: held by the gateway that is awake. `migrations`: held by the process that migrates. */
export const locks = { gate: 1, migrations: 2 } as const;
