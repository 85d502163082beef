import { z } from 'zod';
import type { Finding } from '../doctor/check.js';
import { examine } from '../doctor/examine.js';
import { executionsCheck } from '../executions/doctor.js';
import type { Config } from '../settings/config.js';
import { connectionsOf } from '../sources.js';
import { databaseOf } from './database.js';
import { print, table } from './output.js';

/** In seconds. */
const LONG_TRANSACTION = 60;

/** How long the gateway may take to answer, in milliseconds. */
const ANSWER_LIMIT = 5_000;

/** `rowcast doctor`: says what is wrong and what mends it. Returns whether nothing is worse than a warning. */
export async function doctor({ json }: { json: boolean }, config: Config): Promise<boolean> {
  const findings = [...(await examineDatabase(config)), await examineGateway(config)];
  if (json) print(JSON.stringify(findings, null, 2));
  else print(...report(findings));
  return findings.every(({ verdict }) => verdict !== 'fault');
}

async function examineDatabase(config: Config): Promise<Finding[]> {
  const name = 'database';
  try {
    const databaseUrl = await databaseOf(config);
    const found = config.databaseUrl === undefined ? `the embedded one of ${config.dataDir}` : 'DATABASE_URL';
    const gatewayConnections = connectionsOf(config) * config.workers;
    const circumstances = { databaseUrl, gatewayConnections, longTransaction: LONG_TRANSACTION, now: Date.now };
    const findings = await examine(circumstances, [executionsCheck]);
    return [{ name, verdict: 'ok', found, fix: null }, ...findings];
  } catch (error) {
    return [{ name, verdict: 'fault', found: (error as Error).message, fix: 'npx rowcast up' }];
  }
}

const readiness = z.object({ status: z.string(), checks: z.record(z.string(), z.unknown()) });

async function examineGateway({ url }: Config): Promise<Finding> {
  const name = 'gateway';
  const address = `${url.replace(/^ws/, 'http').replace(/\/$/, '')}/readyz`;
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(ANSWER_LIMIT) });
    const body = readiness.safeParse(await response.json().catch(() => null));
    if (!body.success) {
      const fix = 'Let ROWCAST_URL lead to the gateway.';
      return { name, verdict: 'warning', found: `what answers at ${url} is no gateway`, fix };
    }
    if (response.ok) return { name, verdict: 'ok', found: `ready, at ${url}`, fix: null };
    const failing = Object.entries(body.data.checks).filter(([, well]) => well === false);
    const found = `not ready, at ${url}: ${failing.map(([check]) => check).join(', ')}`;
    return { name, verdict: 'fault', found, fix: 'Mend what is said above, and look at its log.' };
  } catch {
    return { name, verdict: 'skipped', found: `none answers at ${url}`, fix: null };
  }
}

/** One line for each finding, and what to do about it below. */
function report(findings: readonly Finding[]): string[] {
  const rows = findings.map(({ name, verdict, found }) => [name, verdict, found]);
  const [heading = '', ...lines] = table([['CHECK', 'VERDICT', 'FOUND'], ...rows]);
  const indent = ' '.repeat(heading.indexOf('FOUND'));
  const all = lines.flatMap((line, index) => {
    const fix = findings[index]?.fix ?? null;
    return fix === null ? [line] : [line, `${indent}fix: ${fix}`];
  });
  const count = (verdict: Finding['verdict']) => {
    const { length } = findings.filter((finding) => finding.verdict === verdict);
    return `${length} ${verdict}${length === 1 ? '' : 's'}`;
  };
  return [heading, ...all, '', `${count('fault')}, ${count('warning')}`];
}
