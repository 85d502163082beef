import { tmpdir } from 'node:os';
import { freePort } from '../../server/ground/free-port.js';
import { startSupervised } from '../../server/postgres/supervise.js';
import { programPath } from './installed.mjs';

export interface Redis {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts a Redis that stores nothing and cannot outlive this process. */
export async function startRedis(): Promise<Redis> {
  const port = await freePort();
  const args = ['--port', `${port}`, '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'];
  const { stop } = await startSupervised(programPath('redis') ?? '', args, {
    cwd: tmpdir(),
    runAs: {},
    ready: 'Ready to accept connections',
  });
  return { url: `redis://127.0.0.1:${port}`, stop };
}
