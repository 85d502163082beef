import { z } from 'zod';
import { type Check, fault, type Outcome, ok } from '../doctor/check.js';
import { EXTENSION } from './schema.js';

const installed = z.object({ schema: z.string(), adopted: z.boolean() });
const INSTALLED = `
  SELECT schema, 'ventures' = ANY (adopted) AS adopted FROM rowcast.extensions WHERE name = $1`;

const table = z.object({
  name: z.string(),
  /** Quoted; null if the table does not exist. */
  relation: z.string().nullable(),
  rls: z.boolean().nullable(),
  off: z.array(z.string()),
});

/** The tables that only members may read, and their triggers that are disabled. */
const TABLES = `
  SELECT t.name, quote_ident($1) || '.' || quote_ident(c.relname) AS relation, c.relrowsecurity AS rls,
         ARRAY(SELECT quote_ident(g.tgname) FROM pg_trigger g JOIN pg_proc p ON p.oid = g.tgfoid
                WHERE g.tgrelid = c.oid AND NOT g.tgisinternal AND g.tgenabled NOT IN ('O', 'A')
                  AND p.pronamespace = 'rowcast'::regnamespace AND g.tgname NOT LIKE 'zz\\_%' ORDER BY 1) AS off
    FROM unnest(ARRAY['venture_members', 'agent_executions', 'agent_execution_logs', 'execution_metrics', 'execution_audit']) t(name)
    LEFT JOIN pg_class c ON c.relname = t.name AND c.relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = $1)`;

/** The check of `rowcast doctor` for executions. Without an installation it returns no outcome. */
export const executionsCheck: Check = {
  name: 'executions',
  async run(probe) {
    const { there } = await probe.readOne(
      z.object({ there: z.boolean() }),
      `SELECT to_regclass('rowcast.extensions') IS NOT NULL AS there`,
    );
    const [found] = there ? await probe.readAsGateway(installed, INSTALLED, [EXTENSION]) : [];
    if (found === undefined) return [];
    const tables = await probe.read(table, TABLES, [found.schema]);
    const wrong = tables.flatMap(problems);
    const whose = found.adopted ? ', beside a table ventures of the application' : '';
    return wrong.length > 0 ? wrong : ok(`installed in the schema ${found.schema}${whose}`);
  },
};

function problems({ name, relation, rls, off }: z.output<typeof table>): Outcome[] {
  if (relation === null)
    return [fault(`the table ${name} does not exist`, 'Restore it, or run npx rowcast uninstall --with executions')];
  const wrong = off.map((trigger) =>
    fault(`the trigger ${trigger} of ${relation} does not fire`, `ALTER TABLE ${relation} ENABLE TRIGGER ${trigger};`),
  );
  if (rls) return wrong;
  const found = `${relation} has no row-level security: users see more than the executions of their ventures`;
  return [...wrong, fault(found, `ALTER TABLE ${relation} ENABLE ROW LEVEL SECURITY;`)];
}
