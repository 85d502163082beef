/** The gateway that is measured: `rowcast up` as a process of its own, bundled from the sources. */
import { settings } from '../../../server/settings/table.js';
import { program } from '../../support/programs.js';
import { type Program, passOn, startProgram } from './ends.js';
import { cpuOfTree, memoryOf } from './processes.js';

/** What would throttle all clients of a run, because they come from one address. */
export const LIFTED = {
  ROWCAST_MAX_CONNECTIONS: '40000',
  ROWCAST_ADDRESS_CONNECTIONS: '40000',
  ROWCAST_CONNECT_RATE: '1000000',
  ROWCAST_ADDRESS_CONNECT_RATE: '1000000',
  ROWCAST_ADDRESS_REQUEST_RATE: '1000000',
  ROWCAST_ADDRESS_POLL_RATE: '1000000',
  ROWCAST_USER_CONNECTIONS: '1000000',
  ROWCAST_USER_RATE: '1000000',
};

export interface Gateway {
  readonly url: string;
  readonly port: number;
  readonly pid: number;
  cpu(): number;
  /** In KB. */
  memory(): { now: number; peak: number };
  stop: Program['stop'];
}

/** Settings of the environment hold for the gateway of every scenario: `ROWCAST_CACHE_BYTES=0 npm run bench -- B1`. */
function inherited(): Record<string, string> {
  const names = new Set([...Object.values(settings).map(({ env }) => env), 'NODE_OPTIONS']);
  return Object.fromEntries(
    Object.entries(process.env).flatMap(([name, value = '']) => (names.has(name) ? [[name, value]] : [])),
  );
}

export async function startGateway(
  databaseUrl: string,
  limits: Readonly<Record<string, string>> = LIFTED,
): Promise<Gateway> {
  const env = { ROWCAST_PORT: '0', ROWCAST_LOG_LEVEL: 'warn', ...limits, ...inherited(), DATABASE_URL: databaseUrl };
  const { match, pid, child, stop } = await startProgram(process.execPath, {
    args: [program('server/main.ts'), 'up', '--no-demo'],
    ready: /^listening on (\S+)$/m,
    env,
  });
  passOn(child);
  const url = match?.[1] ?? '';
  return { url, port: Number(new URL(url).port), pid, cpu: () => cpuOfTree(pid), memory: () => memoryOf(pid), stop };
}
