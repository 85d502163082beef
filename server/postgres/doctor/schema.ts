import { z } from 'zod';
import { readMigrations } from '../migrate.js';
import { type Check, fault, type Outcome, ok, warning } from './check.js';

const MIGRATE = 'npx rowcast migrate';

export const migrations: Check = {
  name: 'migrations',
  async run(probe) {
    const there = z.object({ schema: z.boolean(), readable: z.boolean().nullable() });
    const { schema, readable } = await probe.readOne(
      there,
      `SELECT to_regnamespace('rowcast') IS NOT NULL AS schema,
              (SELECT has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')
                 FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname = 'rowcast' AND c.relname = 'migrations') AS readable`,
    );
    if (!schema || readable === null) return fault('the schema rowcast is not there', MIGRATE);
    if (!readable) {
      return fault(
        'the role may not read rowcast.migrations',
        'GRANT USAGE ON SCHEMA rowcast TO …; GRANT SELECT ON rowcast.migrations TO …;',
      );
    }
    const row = z.object({ name: z.string(), checksum: z.string() });
    const ran = await probe.read(row, 'SELECT name, checksum FROM rowcast.migrations ORDER BY name');
    return compare(await readMigrations(), ran);
  },
};

interface Migration {
  readonly name: string;
  readonly checksum: string;
}

function compare(files: readonly Migration[], ran: readonly Migration[]): Outcome | Outcome[] {
  const done = new Map(ran.map(({ name, checksum }) => [name, checksum]));
  const known = new Set(files.map(({ name }) => name));
  const pending = files.filter(({ name }) => !done.has(name));
  const changed = files.filter(({ name, checksum }) => done.has(name) && done.get(name) !== checksum);
  const newer = ran.filter(({ name }) => !known.has(name));
  const names = (list: readonly Migration[]) => list.map(({ name }) => name).join(', ');
  const outcomes: Outcome[] = [];
  if (pending.length > 0) outcomes.push(fault(`not run yet: ${names(pending)}`, MIGRATE));
  if (changed.length > 0) {
    const fix = 'Put the released files back; changes belong in a new migration. Until then no gateway starts.';
    outcomes.push(fault(`changed after they ran: ${names(changed)}`, fix));
  }
  if (newer.length > 0) {
    outcomes.push(
      warning(
        `ran, but unknown here: ${names(newer)}`,
        'Use the version of Rowcast that brought them, or a later one.',
      ),
    );
  }
  return outcomes.length > 0 ? outcomes : ok(`${files.length} of ${files.length} ran, none was changed since`);
}

/** What the role of the gateway may do in the schema; its rights on the tables are a matter of each stream. */
export const rights: Check = {
  name: 'rights',
  async run(probe) {
    const row = z.object({ role: z.string(), missing: z.array(z.string()) });
    const { role, missing } = await probe.readOne(
      row,
      `SELECT quote_ident(current_user) AS role, ARRAY(
         SELECT 'USAGE ON SCHEMA rowcast'::text WHERE NOT has_schema_privilege('rowcast', 'USAGE')
         UNION ALL
         SELECT format('SELECT ON rowcast.%I', c.relname) FROM pg_class c
          WHERE c.relnamespace = to_regnamespace('rowcast') AND c.relkind IN ('r', 'p') AND NOT has_table_privilege(c.oid, 'SELECT')
       ) AS missing`,
    );
    if (missing.length === 0) return ok(`${role} may read the catalog`);
    return fault(`${role} lacks ${missing.join(', ')}`, missing.map((right) => `GRANT ${right} TO ${role};`).join(' '));
  },
};

/** A gateway prunes with its own rights, where a stream has a policy. */
export const retention: Check = {
  name: 'retention',
  async run(probe) {
    const row = z.object({ name: z.string(), role: z.string(), missing: z.array(z.string()) });
    const streams = await probe.read(
      row,
      `SELECT s.name, quote_ident(current_user) AS role, ARRAY(
         SELECT format('%s ON %s', w.privilege, w.relation::regclass)
           FROM (VALUES ('DELETE', c.oid), ('UPDATE', c.oid), ('UPDATE', 'rowcast.channels'::regclass), ('INSERT', 'rowcast.retention'::regclass),
                        ('UPDATE', 'rowcast.retention'::regclass)) AS w (privilege, relation)
          WHERE NOT CASE w.privilege WHEN 'UPDATE' THEN has_any_column_privilege(w.relation, 'UPDATE')
            ELSE has_table_privilege(w.relation, w.privilege) END) AS missing
         FROM rowcast.retention r JOIN rowcast.streams s USING (stream_id) JOIN pg_class c ON c.oid = s.relation
        WHERE r.keep IS NOT NULL OR r.keep_rows IS NOT NULL ORDER BY s.name`,
    );
    if (streams.length === 0) return ok('no stream has a policy: everything is kept');
    const lacking = streams.filter(({ missing }) => missing.length > 0);
    if (lacking.length === 0) return ok(`gateways prune ${streams.map(({ name }) => name).join(', ')}`);
    return lacking.map(({ name, role, missing }) =>
      warning(
        `${name} is not pruned: ${role} lacks ${missing.join(', ')}`,
        missing.map((right) => `GRANT ${right} TO ${role};`).join(' '),
      ),
    );
  },
};
