import { z } from 'zod';
import type { Finding } from '../doctor/check.js';
import { examine } from '../doctor/examine.js';
import { connectedGateways } from '../doctor/pressure.js';
import { engineCheck } from '../engine/doctor.js';
import { executionsCheck } from '../executions/doctor.js';
import type { Config } from '../settings/config.js';
import { connectionsOf } from '../sources.js';
import { databaseOf } from './database.js';
import { print, table } from './output.js';

/** The age from which an open transaction is reported, in seconds. */
const LONG_TRANSACTION = 60;

/** The timeout of the request to the gateway, in milliseconds. */
const REQUEST_TIMEOUT = 5_000;

/** `rowcast doctor`: reports problems and how to fix them. Returns false if there is a fault. */
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
    const found = config.databaseUrl === undefined ? `the embedded one in ${config.dataDir}` : 'DATABASE_URL';
    const gatewayConnections = connectionsOf(config) * config.workers;
    const circumstances = { databaseUrl, gatewayConnections, longTransaction: LONG_TRANSACTION, now: Date.now };
    const findings = await examine(circumstances, [executionsCheck, engineCheck]);
    return [{ name, verdict: 'ok', found, fix: null }, ...findings];
  } catch (error) {
    return [{ name, verdict: 'fault', found: (error as Error).message, fix: 'npx rowcast up' }];
  }
}

const readiness = z.object({ status: z.string(), checks: z.record(z.string(), z.unknown()) });

async function examineGateway(config: Config): Promise<Finding> {
  const name = 'gateway';
  const { url } = config;
  const address = `${url.replace(/^ws/, 'http').replace(/\/$/, '')}/readyz`;
  try {
    const response = await fetch(address, { signal: AbortSignal.timeout(REQUEST_TIMEOUT) });
    const body = readiness.safeParse(await response.json().catch(() => null));
    if (!body.success) {
      const fix = 'Set ROWCAST_URL to the URL of the gateway.';
      return { name, verdict: 'warning', found: `the server at ${url} is not a gateway`, fix };
    }
    const databaseUrl = await databaseOf(config).catch(() => null);
    if (response.ok && databaseUrl !== null && (await connectedGateways(databaseUrl)) === 0) {
      const found = `ready, at ${url}, but no gateway is connected to this database: it serves another one`;
      return {
        name,
        verdict: 'warning',
        found,
        fix: 'Set ROWCAST_URL and DATABASE_URL to a gateway and its database.',
      };
    }
    if (response.ok) return { name, verdict: 'ok', found: `ready, at ${url}`, fix: null };
    const failing = Object.entries(body.data.checks).filter(([, well]) => well === false);
    const found = `not ready, at ${url}: ${failing.map(([check]) => check).join(', ')}`;
    return { name, verdict: 'fault', found, fix: 'Fix the faults above, and see its log.' };
  } catch {
    return { name, verdict: 'skipped', found: `none responds at ${url}`, fix: null };
  }
}

/** Prints one line for each finding, followed by its fix. */
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
