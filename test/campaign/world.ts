import { execFileSync } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive } from '../../server/postgres/supervise.js';
import type { Random } from '../support/random.js';
import { Database } from './database.js';
import { Gateway } from './gateway.js';
import { Team } from './writers/team.js';

const PREFIX = 'rowcast-campaign-';

/**
 * Dead peers are noticed sooner than by the defaults, so that a campaign has room for many faults; and the gateways wake
 * and sleep at rates which the writers cross again and again. All who poll do so from one address. All other settings are those that ship.
 */
const SETTINGS = {
  ROWCAST_HEARTBEAT: '2000',
  ROWCAST_QUERY_TIMEOUT: '4000',
  ROWCAST_WAKE_RATE: '50',
  ROWCAST_ADDRESS_REQUEST_RATE: '2000',
  ROWCAST_ADDRESS_POLL_RATE: '10000',
  // Full before the memory is measured for the first time, so that what grows afterwards is no cache; and it must evict.
  ROWCAST_CACHE_BYTES: '4194304',
};

/** How long a row waited for the gateway that it reached last, and what may explain it; in milliseconds. */
export interface SilentRow {
  readonly waited: number;
  readonly gateway: string;
  /** The longest delay of that gateway's event loop at the time; null if it could not be asked. */
  readonly gatewayLag: number | null;
  /** The longest delay of the event loop of the campaign, which measures. */
  readonly campaignLag: number;
}

/** Everything that a campaign breaks. */
export interface World {
  readonly database: Database;
  readonly gateways: readonly Gateway[];
  readonly team: Team;
  readonly log: (line: string) => void;
  /** Rows that rang for nobody, and whose ringer died. */
  readonly silentRows: SilentRow[];
  stop(): Promise<void>;
}

export interface WorldOptions {
  readonly out: string;
  readonly gateways: number;
  readonly rowsPerSecond: number;
  readonly random: Random;
  readonly log: (line: string) => void;
}

export async function startWorld({ out, gateways, rowsPerSecond, random, log }: WorldOptions): Promise<World> {
  await removeAbandoned();
  const folder = await mkdtemp(join(tmpdir(), `${PREFIX}${process.pid}-`));
  await chmod(folder, 0o711); // PostgreSQL has to reach its disk in it
  const logs = join(out, 'logs');
  await mkdir(logs, { recursive: true });
  const ends: (() => Promise<unknown>)[] = [() => rm(folder, { recursive: true, force: true })];
  const stop = async () => {
    for (const end of ends.splice(0).reverse()) await end();
  };
  try {
    const database = await Database.start(folder, join(logs, 'postgres.log'));
    ends.push(() => database.stop());
    const team = new Team(database, rowsPerSecond, random.branch('writers'));
    ends.push(() => team.end());
    const started: Gateway[] = [];
    for (let index = 0; index < gateways; index++) {
      const gateway = await Gateway.create(index, database, SETTINGS, join(logs, `gateway-${index}.log`));
      ends.push(() => gateway.stop());
      started.push(gateway);
    }
    return { database, gateways: started, team, log, silentRows: [], stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** A campaign that was killed takes its processes along, but leaves its files, and its small disk. */
async function removeAbandoned(): Promise<void> {
  for (const entry of await readdir(tmpdir())) {
    const pid = new RegExp(`^${PREFIX}(\\d+)-`).exec(entry)?.[1];
    if (!pid || isAlive(Number(pid))) continue;
    const folder = join(tmpdir(), entry);
    try {
      execFileSync('umount', ['--lazy', join(folder, 'disk')], { stdio: 'ignore' });
    } catch {
      // It had none.
    }
    await rm(folder, { recursive: true, force: true });
  }
}
