import { runRowcast } from '../support/process.js';
import { PLAIN_CHANNELS } from './schema.js';

/** `rowcast watch --record`, as anybody would run it. */
export interface Watch {
  readonly channel: string;
  /** The file with what it saw. */
  readonly history: string;
  /** Where it stands; undefined before the first event. */
  readonly position: string | undefined;
  /** Ends it as Ctrl-C does, so that its history is complete. */
  stop(): Promise<unknown>;
  kill(): void;
}

/** Longer than a line that it prints, in characters. */
const LINE = 4_000;

export function startWatch(port: number, history: string): Watch {
  const channel = PLAIN_CHANNELS[0] ?? '';
  const url = `http://127.0.0.1:${port}`;
  const options = ['--since', 'start', '--json', '--record', history, '--url', url];
  const { child, output, exited } = runRowcast(['watch', channel, ...options]);
  return {
    channel,
    history,
    get position() {
      return [
        ...output()
          .slice(-LINE)
          .matchAll(/"position":"([^"]+)"/g),
      ].at(-1)?.[1];
    },
    stop() {
      child.kill('SIGINT');
      return exited;
    },
    kill: () => child.kill('SIGKILL'),
  };
}
