import type { Circumstances, Finding } from '../../server/postgres/doctor/check.js';
import { examine } from '../../server/postgres/doctor/examine.js';

/** What the doctor finds, for a gateway with the default settings. */
export function findingsAt(databaseUrl: string, circumstances: Partial<Circumstances> = {}): Promise<Finding[]> {
  return examine({ databaseUrl, gatewayConnections: 7, longTransaction: 60, now: Date.now, ...circumstances });
}

/** What is worse than ok, as `name verdict: found`. The servers of the tests run without fsync, and say so. */
export function complaints(all: readonly Finding[]): string[] {
  return all
    .filter(({ verdict, found }) => verdict !== 'ok' && !/^(fsync|synchronous_commit) = off/.test(found))
    .map(({ name, verdict, found }) => `${name} ${verdict}: ${found}`);
}
