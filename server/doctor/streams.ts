/**
 * The check `streams`: for each stream, the table, key, triggers, indexes, row-level security and rights, and a sample of
 * its numbering. The statement in stream-facts.ts reads the facts; the rules are here.
 */
import { type Check, fault, type Outcome, ok, skipped, warning } from './check.js';
import { holesOf, type Numbering } from './numbering.js';
import { COPIES, copy, FACTS, type Facts, stream } from './stream-facts.js';

/** The triggers that attach creates, and the additional ones on a partitioned table. */
export const TRIGGERS = ['floor', 'keep', 'number', 'ring', 'truncated'].map((name) => `zz_rowcast_${name}`);
export const PARTITION_TRIGGERS = ['zz_rowcast_delete'];
/** What `rowcast.number_changes` does for the events of a tracked table. */
const UNTRACKED_TRIGGERS = ['zz_rowcast_number', 'zz_rowcast_ring'];

/** One outcome for each problem of a stream, or one for a stream without problems. */
export const streams: Check = {
  name: 'streams',
  async run(probe) {
    const all = await probe.readAsGateway(stream, FACTS);
    const outcomes: Outcome[] = (await probe.readAsGateway(copy, COPIES)).map(({ relation, seq, tx }) =>
      warning(
        `${relation} has the columns of a stream and is none: a copy, or restored without the rest; its rows are not events`,
        `ALTER TABLE ${relation} DROP COLUMN ${seq}, DROP COLUMN ${tx}; and attach it if it is to be a stream.`,
      ),
    );
    if (all.length === 0) outcomes.push(ok('none is attached: npx rowcast attach <table> --key <column>'));
    for (const facts of all) {
      const { name, relation, keyType, triggers } = facts;
      const wrong = problems(facts);
      if (relation !== null && keyType !== null && facts.numbered && facts.lacks.length === 0 && facts.seesAll) {
        const { holes, channels } = await holesOf(probe, { ...facts, relation, keyType } satisfies Numbering).catch(
          (error: Error) => ({
            holes: [skipped(`${name}: its numbering could not be checked: ${error.message}`)],
            channels: 0,
          }),
        );
        wrong.push(...holes);
        if (wrong.length === 0) {
          wrong.push(
            ok(`${name}: ${relation}, ${triggers.length} triggers, indexes, no hole (channels checked: ${channels})`),
          );
        }
      }
      outcomes.push(...wrong);
    }
    return outcomes;
  },
};

/** Returns the statement that recreates what attach creates, and keeps the numbering. The names are quoted. */
export function attachAgain({ owner, relation, key }: { owner: string | null; relation: string; key: string }): string {
  return `As the owner ${owner}: SELECT rowcast.attach('${relation.replaceAll("'", "''")}', '${key.replaceAll(/^"|"$/g, '')}');`;
}

function problems(facts: Facts): Outcome[] {
  const { name, relation, key, seq, tx, numbered, keyType, role, owner, triggers } = facts;
  if (relation === null) {
    const drop = facts.trackAgain === null ? 'detach' : 'untrack';
    return [fault(`${name}: its table was dropped`, `SELECT rowcast.${drop}('${name}');`)];
  }
  const attach = facts.trackAgain ?? attachAgain({ owner, relation, key });
  const wrong: Outcome[] = [];
  const bad = (found: string, fix: string) => wrong.push(fault(`${name}: ${found}`, fix));
  if (keyType === null)
    bad(`${relation} has no column ${key} any more`, 'Attach it again, with the new name of its key.');
  else if (!numbered) {
    const renamed = `If they were renamed, attach it again with their names: seq => …, tx => …; if they were dropped: SELECT rowcast.detach('${name}');`;
    bad(`${relation} does not have the columns ${seq} and ${tx} any more: INSERTs fail`, renamed);
  } else if (facts.renamed) bad('the table or its key was renamed: INSERTs fail', attach);

  const general = facts.partitioned ? [...TRIGGERS, ...PARTITION_TRIGGERS] : TRIGGERS;
  const expected =
    facts.trackAgain === null ? general : general.filter((trigger) => !UNTRACKED_TRIGGERS.includes(trigger));
  const missing = expected.filter(
    (wanted) => !triggers.some((found) => found.table === relation && found.name === wanted),
  );
  if (missing.length > 0) bad(`the triggers ${missing.join(', ')} are missing on ${relation}`, attach);
  for (const { name: off, table, enabled } of triggers.filter(
    (found) => found.enabled === 'D' || found.enabled === 'R',
  )) {
    const how = enabled === 'D' ? 'is disabled' : 'fires only in replication';
    bad(`the trigger ${off} of ${table} ${how}`, `ALTER TABLE ${table} ENABLE TRIGGER ${off};`);
  }
  for (const index of [facts.numberIndex, facts.txIndex].filter((state) => state !== null && state !== 'valid')) {
    bad(`the index ${index} is not valid`, `REINDEX INDEX CONCURRENTLY ${index};`);
  }
  if (facts.numberIndex === null && keyType !== null && numbered) {
    const unique = facts.partitioned ? 'INDEX' : 'UNIQUE INDEX';
    bad(
      `${relation} has no ${unique.toLowerCase()} over (${key}, ${seq})`,
      `CREATE ${unique} ON ${relation} (${key}, ${seq});`,
    );
  }
  if (facts.txIndex === null && numbered)
    bad(`${relation} has no index over ${tx}`, `CREATE INDEX ON ${relation} (${tx});`);
  if (facts.forced) {
    bad(
      'row-level security is forced on the owner, so that a seq may be assigned twice',
      `ALTER TABLE ${relation} NO FORCE ROW LEVEL SECURITY;`,
    );
  }
  if (facts.lacks.length > 0) bad(`${role} may not read ${relation}, so that its events are not delivered`, attach);
  else if (facts.hiding.length > 0) {
    bad(
      `the restrictive policy ${facts.hiding.join(', ')} hides rows of ${relation} from ${role}`,
      facts.hiding.map((policy) => `ALTER POLICY ${policy} ON ${relation} TO anon, authenticated;`).join(' '),
    );
  } else if (!facts.seesAll) {
    // attach would keep an existing policy of that name, even if it does not show every row.
    const again = attach.replace(': ', `: DROP POLICY IF EXISTS ${role} ON ${relation}; `);
    bad(`row-level security hides rows of ${relation} from ${role}`, again);
  }
  if (facts.hiddenParent !== null) bad(`${role} may not read the keys of ${facts.hiddenParent}`, attach);
  return [
    ...wrong,
    ...laterChanges(facts, relation, attach),
    ...updates(facts, relation),
    ...ownerProblems(facts, attach),
  ];
}

/** `attach` updates each row that is there once, and again after `detach`: that is no sign of a table that is updated. */
function updates({ name, key, inserted, updated, trackAgain }: Facts, relation: string): Outcome[] {
  if (trackAgain !== null || updated <= 2 * inserted) return [];
  const [table = '', column = ''] = [relation, key.replaceAll(/^"|"$/g, '')].map((text) => text.replaceAll("'", "''"));
  return [
    warning(
      `${name}: rows of ${relation} are updated (updates: ${updated}, inserts: ${inserted}), and an UPDATE is no event`,
      `SELECT rowcast.detach('${name}'); SELECT rowcast.track('${table}', key => '${column}', name => '${name}');`,
    ),
  ];
}

/** What attach would have refused, and was done to the table afterwards. */
function laterChanges(facts: Facts, relation: string, attach: string): Outcome[] {
  const { name, unlogged, children, later, unpublishable, unenforced } = facts;
  return [
    ...unlogged.map((table) =>
      fault(
        `${name}: ${table} is unlogged: a crash empties it, and its numbers begin again`,
        `ALTER TABLE ${table} SET LOGGED;`,
      ),
    ),
    ...children.map((child) =>
      fault(
        `${name}: ${child} inherits from ${relation}, and its rows get no numbers`,
        `ALTER TABLE ${child} NO INHERIT ${relation};`,
      ),
    ),
    ...later.map((trigger) =>
      fault(
        `${name}: the trigger ${trigger.name} of ${trigger.relation} fires after those of Rowcast, and can change a key or number`,
        trigger.mend,
      ),
    ),
    ...unpublishable.map((table) =>
      fault(
        `${name}: ${table} is published without a replica identity, so its events cannot be deleted`,
        `ALTER TABLE ${table} REPLICA IDENTITY FULL;`,
      ),
    ),
    ...unenforced.map((reference) =>
      warning(
        `${name}: the reference ${reference} is not enforced: only services read the events of a key that it does not find`,
        `ALTER TABLE ${relation} DROP CONSTRAINT ${reference}; ${attach}`,
      ),
    ),
  ];
}

/** The trigger functions are SECURITY DEFINER: they run with the rights of their owner, which is that of the table after `attach`. */
function ownerProblems({ name, relation, owner, triggers }: Facts, attach: string): Outcome[] {
  const functions = triggers.filter(({ definer, function: f }) => definer && f.startsWith('rowcast.'));
  const foreign = functions.find((found) => found.owner !== owner);
  if (foreign !== undefined) {
    const found = `${name}: the triggers run as ${foreign.owner}, and ${relation} belongs to ${owner}`;
    const fix = attach.replace(/^As the owner [^:]*/, 'As an administrator');
    return [foreign.superuser ? warning(found, fix) : fault(`${found}: INSERTs fail`, fix)];
  }
  const lacking = [...new Set(functions.flatMap((found) => found.lacks))];
  if (lacking.length === 0) return [];
  return [
    fault(`${name}: the triggers run as ${functions[0]?.owner}, which lacks rights: INSERTs fail`, lacking.join(' ')),
  ];
}
