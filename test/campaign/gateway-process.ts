import { packageRoot } from '../../server/ground/package-root.js';
import { startSupervised } from '../../server/postgres/supervise.js';
import { program } from '../support/programs.js';

/** A running `rowcast up`. It cannot outlive this process, and Ctrl-C does not reach it. */
export interface GatewayProcess {
  readonly pid: number;
  readonly url: string;
  /** Settles with its exit code; null if a signal ended it. */
  readonly exited: Promise<number | null>;
}

/** The number of the process that the program becomes. */
const TELL_PID = 'echo "pid $$"; exec "$@"';
/** Loaded before the program: what it ended with. */
const TELL_STATUS = "data:text/javascript,process.on('exit',(code)=>console.log('status '+code))";

/** Rejects with what it printed if it ends before it listens. `log` gets each line that it prints. */
export async function startGatewayProcess(
  env: Readonly<Record<string, string>>,
  log: (line: string) => void,
): Promise<GatewayProcess> {
  const { PATH = '', HOME = '' } = process.env;
  const settings = Object.entries({ PATH, HOME, ...env }).map(([name, value]) => `${name}=${value}`);
  const node = [process.execPath, '--import', TELL_STATUS];
  const told = new Map<string, string>();
  const { exited } = await startSupervised(
    '/bin/sh',
    ['-c', TELL_PID, 'gateway', 'env', '-i', ...settings, ...node, program('server/main.ts'), 'up', '--no-demo'],
    {
      cwd: packageRoot(),
      runAs: {},
      ready: 'listening on http',
      log(line) {
        const [, name, value] = /^(pid|listening on|status) (\S+)$/.exec(line) ?? [];
        if (name !== undefined && value !== undefined) told.set(name, value);
        log(line);
      },
    },
  );
  const status = () => (told.has('status') ? Number(told.get('status')) : null);
  return { pid: Number(told.get('pid')), url: told.get('listening on') ?? '', exited: exited.then(status) };
}
