import { access } from './access.js';
import { gate, migrationLock } from './advisory.js';
import { type Check, type Circumstances, type Finding, runCheck, skipped } from './check.js';
import { locks, notify, pooler } from './passage.js';
import { connections, prepared, queue, transactions } from './pressure.js';
import { clock, connection, encoding, primary, version } from './reach.js';
import { readable } from './readable.js';
import { retention, rights } from './rights.js';
import { migrations, NOT_INSTALLED } from './schema.js';
import { settings } from './settings.js';
import { streams } from './streams.js';
import { tracks } from './tracks.js';

const CHECKS: readonly Check[] = [
  version,
  encoding,
  primary,
  clock,
  pooler,
  notify,
  locks,
  queue,
  connections,
  transactions,
  prepared,
  gate,
  migrationLock,
  settings,
  migrations,
];

/** They look at what `rowcast migrate` installs, and are left out before that. */
const INSTALLED: readonly Check[] = [rights, streams, tracks, readable, access, retention];

/** Runs all checks that apply one after the other, then those of the extensions. It changes nothing and never rejects. */
export async function examine(circumstances: Circumstances, extensions: readonly Check[] = []): Promise<Finding[]> {
  const findings = await runCheck(connection, circumstances);
  const reached = findings.every(({ verdict }) => verdict !== 'fault');
  const run = async (checks: readonly Check[]) => {
    for (const check of checks) {
      findings.push(
        ...(reached ? await runCheck(check, circumstances) : [{ name: check.name, ...skipped('no connection') }]),
      );
    }
  };
  await run(CHECKS);
  if (findings.every(({ found }) => found !== NOT_INSTALLED)) await run([...INSTALLED, ...extensions]);
  return findings;
}
