import { access } from './access.js';
import { gate, migrationLock } from './advisory.js';
import { type Check, type Circumstances, type Finding, runCheck, skipped } from './check.js';
import { locks, notify, pooler } from './passage.js';
import { connections, prepared, queue, transactions } from './pressure.js';
import { clock, connection, encoding, primary, version } from './reach.js';
import { readable } from './readable.js';
import { retention, rights } from './rights.js';
import { migrations } from './schema.js';
import { settings } from './settings.js';
import { streams } from './streams.js';

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
  rights,
  streams,
  readable,
  access,
  retention,
];

/** Runs all checks one after the other, then those of the extensions. It changes nothing and never rejects. */
export async function examine(circumstances: Circumstances, extensions: readonly Check[] = []): Promise<Finding[]> {
  const findings = await runCheck(connection, circumstances);
  const reached = findings.every(({ verdict }) => verdict !== 'fault');
  for (const check of [...CHECKS, ...extensions]) {
    findings.push(
      ...(reached ? await runCheck(check, circumstances) : [{ name: check.name, ...skipped('no connection') }]),
    );
  }
  return findings;
}
