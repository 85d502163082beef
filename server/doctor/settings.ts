import { z } from 'zod';
import { type Check, fault, type Outcome, ok, warning } from './check.js';

interface Rule {
  readonly verdict: typeof warning;
  readonly isWell: (value: string) => boolean;
  readonly effect: string;
  /** The value that it should have. */
  readonly wanted: string;
  /** Whether it can only be set for the whole server, and not for a role. */
  readonly server?: true;
}

const is = (wanted: string) => (value: string) => value === wanted;

/** Settings of a new session of the role. A gateway overrides some of them, but not in all of its sessions. */
const RULES: Record<string, Rule> = {
  session_replication_role: {
    verdict: fault,
    isWell: (value) => value !== 'replica',
    effect: 'triggers do not fire, so that rows get no seq',
    wanted: 'origin',
  },
  default_transaction_read_only: { verdict: fault, isWell: is('off'), effect: 'migrations fail', wanted: 'off' },
  server_encoding: {
    verdict: warning,
    isWell: is('UTF8'),
    effect: 'events are sent as UTF-8, and text that cannot be converted fails',
    wanted: 'UTF8',
    server: true,
  },
  default_transaction_isolation: {
    verdict: warning,
    isWell: is('read committed'),
    effect: 'writers of one channel get serialization failures (40001) and must retry',
    wanted: 'read committed',
  },
  idle_session_timeout: { verdict: warning, isWell: is('0'), effect: 'idle connections are closed', wanted: '0' },
  statement_timeout: {
    verdict: warning,
    isWell: is('0'),
    effect: 'migrations and long reads may be cancelled',
    wanted: '0',
  },
  transaction_timeout: { verdict: warning, isWell: is('0'), effect: 'migrations may be cancelled', wanted: '0' },
  row_security: { verdict: warning, isWell: is('on'), effect: 'a read that a policy would filter fails', wanted: 'on' },
  track_activities: {
    verdict: warning,
    isWell: is('on'),
    effect: 'the activity of sessions is not visible, not even to this command',
    wanted: 'on',
  },
  synchronous_commit: {
    verdict: warning,
    isWell: (value) => value !== 'off',
    effect: 'a crash of the server can lose events that readers have; call rowcast.new_epoch after each',
    wanted: 'on',
  },
  fsync: {
    verdict: warning,
    isWell: is('on'),
    effect: 'a crash of the machine can lose events that readers have, or the whole database',
    wanted: 'on',
    server: true,
  },
};

export const settings: Check = {
  name: 'settings',
  async run(probe) {
    // reset_val is the value at the start of a session. The check itself has changed some in its transaction.
    const values = await probe.read(
      z.object({ name: z.string(), value: z.string() }),
      'SELECT name, reset_val AS value FROM pg_settings WHERE name = ANY($1)',
      [Object.keys(RULES)],
    );
    const { role } = await probe.readOne(z.object({ role: z.string() }), 'SELECT quote_ident(current_user) AS role');
    const outcomes = values.flatMap(({ name, value }): Outcome[] => {
      const rule = RULES[name];
      if (rule === undefined || rule.isWell(value)) return [];
      return [rule.verdict(`${name} = ${value}: ${rule.effect}`, fixOf(name, rule, role))];
    });
    const replicas = await probe.read(
      z.object({ role: z.string() }),
      `SELECT quote_ident(r.rolname) AS role FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
        WHERE 'session_replication_role=replica' = ANY (s.setconfig)`,
    );
    for (const { role: other } of replicas.filter((replica) => replica.role !== role)) {
      const found = `the role ${other} has session_replication_role = replica: rows that it writes get no seq`;
      outcomes.push(warning(found, `ALTER ROLE ${other} RESET session_replication_role;`));
    }
    return outcomes.length === 0 ? ok('no harmful settings') : outcomes;
  },
};

function fixOf(name: string, { server, wanted }: Rule, role: string): string {
  if (name === 'server_encoding') return 'Move to a database with ENCODING UTF8.';
  if (server) return `ALTER SYSTEM SET ${name} = '${wanted}'; SELECT pg_reload_conf();`;
  return `ALTER ROLE ${role} SET ${name} = '${wanted}';`;
}
