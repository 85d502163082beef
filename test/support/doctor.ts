import type { Check, Circumstances, Finding } from '../../server/doctor/check.js';
import { examine } from '../../server/doctor/examine.js';

/** What the doctor finds, for a gateway that opens seven connections. */
export function findingsAt(
  databaseUrl: string,
  circumstances: Partial<Circumstances> = {},
  extensions: readonly Check[] = [],
): Promise<Finding[]> {
  const all = { databaseUrl, gatewayConnections: 7, longTransaction: 60, now: Date.now, ...circumstances };
  return examine(all, extensions);
}

/** What is worse than ok, as `name verdict: found`. The servers of the tests run without fsync, and say so. */
export function complaints(all: readonly Finding[]): string[] {
  return all
    .filter(({ verdict, found }) => verdict !== 'ok' && !/^(fsync|synchronous_commit) = off/.test(found))
    .map(lineOf);
}

const lineOf = ({ name, verdict, found }: Finding) => `${name} ${verdict}: ${found}`;

/** What mends the complaint that reads like this. */
export function fixFor(all: readonly Finding[], complaint: RegExp): string {
  return all.find((finding) => complaint.test(lineOf(finding)))?.fix ?? '';
}

/** What one check has found. */
export function foundBy(all: readonly Finding[], check: string): string[] {
  return all.filter(({ name }) => name === check).map(({ found }) => found);
}
