import { fork } from 'node:child_process';
import { once } from 'node:events';
import { program } from './programs.js';

export interface CrowdOptions {
  readonly url: string;
  readonly clients: number;
  /** Each client follows one of them, in turn. The data of a row there is its seq. */
  readonly channels: readonly string[];
}

export interface CrowdReport {
  /** Clients that are connected now. */
  readonly connected: number;
  /** Of these, by what. */
  readonly transports: Readonly<Record<string, number>>;
  /** Of each channel, the lowest seq that one of its clients has come to. */
  readonly lowest: readonly number[];
  /** What no client may see, the first of it. */
  readonly faults: readonly string[];
  /** How often a client had to wait, by code of the error. */
  readonly turnedAway: Readonly<Record<string, number>>;
  /** When a client was connected, in milliseconds since 1970; also `turnedAway` counts from the last `forget`. */
  readonly connections: readonly number[];
}

export interface Crowd {
  report(): Promise<CrowdReport>;
  /** As `report`, and counts anew from now on. */
  forget(): Promise<CrowdReport>;
  end(): Promise<void>;
}

/** Thousands of clients of the library, in a process of their own. */
export function startCrowd(options: CrowdOptions): Crowd {
  const child = fork(program('test/support/crowd-process.ts'), [JSON.stringify(options)], { execArgv: [] });
  const ask = async (question: string) => {
    const answer = once(child, 'message') as Promise<[CrowdReport]>;
    child.send(question);
    const [report] = await answer;
    return report;
  };
  return {
    report: () => ask('report'),
    forget: () => ask('forget'),
    async end() {
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    },
  };
}
