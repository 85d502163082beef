/** What some tests need and npm does not install. */
export type Program =
  | 'chromium'
  | 'django'
  | 'firefox'
  | 'nats'
  | 'nginx'
  | 'pgbench'
  | 'pgbouncer'
  | 'redis'
  | 'postgresql'
  | 'psql'
  | 'openssl'
  | 'curl'
  | 'python3';

/** The folders with the programs of each PostgreSQL that is installed, the newest first. */
export function postgresFolders(): string[];

export function programPath(program: Program): string | undefined;

/** Which of these are missing, if any. */
export function whyLacking(...programs: Program[]): string | null;

/** Whether one of these is missing, so that `what` is skipped: see `skips`. */
export function lacks(what: string, ...programs: Program[]): boolean;

/** Whether there is a reason to skip `what`: a line says so. With `CI` in the environment it throws. */
export function skips(what: string, why: string | null): boolean;
