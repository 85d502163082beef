import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface BuiltDashboard {
  readonly folder: string;
  remove(): Promise<void>;
}

/** Builds the page of the gateway into a folder of its own. */
export async function buildDashboard(): Promise<BuiltDashboard> {
  const folder = await mkdtemp(join(tmpdir(), 'rowcast-dashboard-'));
  await run(process.execPath, ['dashboard.mjs', folder], { cwd: join(import.meta.dirname, '../..') });
  return { folder, remove: () => rm(folder, { recursive: true }) };
}
