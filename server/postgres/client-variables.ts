/**
 * Removes the variables of PostgreSQL's client programs, such as PGSSLMODE and PGOPTIONS, from the environment of this process.
 * They are meant for another server than the embedded one, whose URL is complete.
 */
export function removeClientVariables(env: Record<string, string | undefined> = process.env): void {
  for (const name of Object.keys(env)) if (/^PG[A-Z]+$/.test(name)) delete env[name];
}
