/** What stands beside Rowcast: a system that brings rows from PostgreSQL to many sockets. One small file for each. */
import { join } from 'node:path';
import { beside } from '../../support/packages-beside.mjs';
import type { Database, Table } from '../harness/database.js';
import { type Program, passOn, startProgram } from '../harness/ends.js';
import type { LoadOptions } from '../harness/load.js';
import { cpuOf, memoryOf } from '../harness/processes.js';

export interface Server {
  /** Begins or ends to take rows, so that it does nothing in the turns of the others. */
  attend(on: boolean): void;
  /** The table that its rows are written into. */
  readonly table: Table;
  /** How the load client connects, and what it asks for. */
  readonly load: Pick<LoadOptions, 'port' | 'mode' | 'path' | 'chan'>;
  readonly pid: number;
  /** CPU seconds of the server, and of what brings the rows to it where that is another process. */
  cpu(): number;
  feed(): number;
  memory(): { now: number; peak: number };
  stop(): Promise<void>;
}

export interface Peer {
  readonly name: string;
  /** Null, or how it is installed. */
  missing(): string | null;
  start(database: Database): Promise<Server>;
}

/** The npm packages of the peers, beside the dependencies: nothing of Rowcast needs them. */
const PACKAGES = {
  'socket.io': '4.8.4',
  'socket.io-client': '4.8.4',
  '@socket.io/postgres-adapter': '0.5.0',
  '@durable-streams/server': '0.3.7',
} as const;
export type PackageName = keyof typeof PACKAGES;

const place = (name: PackageName) => beside(`rowcast-bench/${name.replace('/', '-')}`, name, PACKAGES[name]);

export const places = () => (Object.keys(PACKAGES) as PackageName[]).map(place);

/** The folder of an installed package. */
export const packageFolder = (name: PackageName) => place(name).root;

export function missingPackages(...names: readonly PackageName[]): string | null {
  const missing = names.filter((name) => !place(name).installed);
  return missing.length === 0 ? null : `npm run bench:peers installs ${missing.join(' and ')}`;
}

interface ServerProgram extends Program {
  readonly port: number;
  attend(on: boolean): void;
}

/** Starts one of the programs in ./servers; it prints `ready` with its port. */
export async function startServer(name: string, args: readonly (string | number)[]): Promise<ServerProgram> {
  const { match, ...program } = await startProgram(process.execPath, {
    args: ['--import', 'tsx', join(import.meta.dirname, 'servers', `${name}.ts`), ...args.map(String)],
    ready: /^ready (\d+)$/m,
  });
  passOn(program.child);
  const attend = (on: boolean) => void program.child.stdin?.write(on ? 'on\n' : 'off\n');
  return { ...program, port: Number(match?.[1]), attend };
}

/** What the CPU time and memory of a process are read by. */
export const reading = ({ pid, stop }: Program) => ({
  pid,
  cpu: () => cpuOf(pid),
  memory: () => memoryOf(pid),
  stop: () => stop(),
});
