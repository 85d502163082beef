import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../ground/package-root.js';

/**
 * A migration of an SQL set. Each folder of `sql/` is a set: one for the core, and one for each extension. A set contains numbered
 * migrations, and a script that removes what they created.
 */
export interface Migration {
  /** The name with its set, such as `core/01-installation.sql`. */
  readonly name: string;
  readonly sql: string;
  readonly checksum: string;
}

export const CORE = 'core';

const folder = (...path: string[]) => join(packageRoot(), 'sql', ...path);

/** The names of the extensions that have a set. */
export function extensionSets(): string[] {
  return readdirSync(folder()).filter((name) => name !== CORE);
}

/** Returns the migrations of a set in order. */
export function migrationsOf(set: string): Migration[] {
  return readdirSync(folder(set))
    .filter((file) => /^\d\d-.*\.sql$/.test(file))
    .sort()
    .map((file) => {
      const sql = readFileSync(folder(set, file), 'utf8');
      return { name: `${set}/${file}`, sql, checksum: createHash('sha256').update(sql).digest('hex') };
    });
}

/** The set that a set builds on, as its file `requires` names it. It is installed first, and both are in one schema. */
export function requiredBy(set: string): string | undefined {
  const file = folder(set, 'requires');
  return existsSync(file) ? readFileSync(file, 'utf8').trim() : undefined;
}

export function uninstallOf(set: string): string {
  return readFileSync(folder(set, 'uninstall.sql'), 'utf8');
}
