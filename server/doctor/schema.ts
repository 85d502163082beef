import { z } from 'zod';
import { type Missing, missingObjects } from '../postgres/missing-objects.js';
import { GATEWAY_ROLE } from '../postgres/session.js';
import { CORE, extensionSets, migrationsOf } from '../postgres/sql-sets.js';
import { type Check, fault, type Outcome, ok, warning } from './check.js';

const MIGRATE = 'npx rowcast migrate';

export const NOT_INSTALLED = 'the schema rowcast does not exist';

export const migrations: Check = {
  name: 'migrations',
  async run(probe) {
    const there = z.object({ role: z.string(), schema: z.boolean(), readable: z.boolean().nullable() });
    const { role, schema, readable } = await probe.readOne(
      there,
      `SELECT quote_ident(current_user) AS role, to_regnamespace('rowcast') IS NOT NULL AS schema,
              (SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'rowcast' AND c.relname = 'migrations') AS readable`,
    );
    if (!schema || readable === null) return fault(NOT_INSTALLED, MIGRATE);
    if (!readable) {
      return fault(`${role} may not read rowcast.migrations`, `GRANT ${GATEWAY_ROLE} TO ${role};`);
    }
    const row = z.object({ name: z.string(), checksum: z.string() });
    const ran = await probe.read(row, 'SELECT name, checksum FROM rowcast.migrations ORDER BY name');
    if (ran.some(({ name }) => !name.includes('/'))) {
      return fault('set up by a version of Rowcast that was never released', 'Use another database.');
    }
    const extension = z.object({ name: z.string(), schema: z.string(), adopted: z.array(z.string()) });
    const extensions = await probe.read(
      extension,
      'SELECT name, quote_ident(schema) AS schema, adopted FROM rowcast.extensions ORDER BY name',
    );
    const missing = await missingObjects(
      (sql, values) => probe.read(z.unknown(), sql, values),
      extensions.filter(({ name }) => extensionSets().includes(name)),
      new Set(ran.map(({ name }) => name)),
    );
    return missing.length > 0 ? missing.map(isMissing) : compare(extensions, ran);
  },
};

function isMissing({ set, objects, allTables }: Missing): Outcome {
  const what = `${set}: dropped, and missing: ${objects.map(({ kind, name }) => `${kind} ${name}`).join(', ')}`;
  if (set === CORE) {
    const again = 'npx rowcast uninstall, npx rowcast migrate, and attach your tables again';
    return fault(what, `Restore the schema rowcast from a backup; or give up its numbers: ${again}.`);
  }
  if (allTables) return fault(what, `${MIGRATE} makes them again, without their rows.`);
  const again = `npx rowcast uninstall --with ${set} --drop-data --yes; ${MIGRATE} --with ${set}`;
  return fault(what, `Restore them from a backup; or give up the rows of the others: ${again}`);
}

interface Ran {
  readonly name: string;
  readonly checksum: string;
}

function compare(extensions: readonly { name: string; schema: string }[], ran: readonly Ran[]): Outcome | Outcome[] {
  const ours = extensionSets();
  const sets = [CORE, ...extensions.map(({ name }) => name).filter((name) => ours.includes(name))];
  const files = sets.flatMap(migrationsOf);
  const done = new Map(ran.map(({ name, checksum }) => [name, checksum]));
  const known = new Set(files.map(({ name }) => name));
  const pending = files.filter(({ name }) => !done.has(name));
  const changed = files.filter(({ name, checksum }) => done.has(name) && done.get(name) !== checksum);
  const newer = ran.filter(({ name }) => !known.has(name));
  const names = (list: readonly Ran[]) => list.map(({ name }) => name).join(', ');
  const outcomes: Outcome[] = [];
  if (pending.length > 0) outcomes.push(fault(`not run yet: ${names(pending)}`, MIGRATE));
  if (changed.length > 0) {
    const fix = 'Restore the released files; changes belong in a new migration. Until then no gateway starts.';
    outcomes.push(fault(`changed after they ran: ${names(changed)}`, fix));
  }
  if (newer.length > 0) {
    outcomes.push(
      warning(`ran, but unknown here: ${names(newer)}`, 'Use the version of Rowcast that ran them, or a later one.'),
    );
  }
  if (outcomes.length > 0) return outcomes;
  const what = [CORE, ...extensions.map(({ name, schema }) => `${name} in the schema ${schema}`)].join(', ');
  return ok(`${what}: ${files.length} of ${files.length} ran, none was changed since`);
}
