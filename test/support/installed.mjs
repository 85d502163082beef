import { accessSync, constants, readdirSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** By the name that tests use: the package of Debian, and what the program may be called. */
const PROGRAMS = {
  chromium: { package: 'chromium', names: ['chromium', 'chromium-browser', 'google-chrome'] },
  firefox: { package: 'firefox-esr', names: ['firefox-esr', 'firefox'] },
  nginx: { package: 'nginx', names: ['nginx'] },
  nats: { package: 'nats-server', names: ['nats-server'] },
  redis: { package: 'redis-server', names: ['redis-server'] },
  pgbouncer: { package: 'pgbouncer', names: ['pgbouncer'] },
  // Debian has more of them in its PATH, which choose a version and are no version.
  postgresql: { package: 'postgresql', names: ['pg_basebackup'], folders: postgresFolders() },
  pgbench: { package: 'postgresql', names: ['pgbench'], folders: postgresFolders() },
  psql: { package: 'postgresql-client', names: ['psql'] },
  openssl: { package: 'openssl', names: ['openssl'] },
  curl: { package: 'curl', names: ['curl'] },
  python3: { package: 'python3', names: ['python3'] },
  django: { package: 'python3-django python3-psycopg2', names: ['django-admin'] },
};

/** The folders with the programs of each PostgreSQL that is installed, the newest first. */
export function postgresFolders() {
  try {
    const majors = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a));
    return majors.map((major) => `/usr/lib/postgresql/${major}/bin`);
  } catch {
    return [];
  }
}

export function programPath(program) {
  const { names, folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'] } = PROGRAMS[program];
  const paths = names.flatMap((name) => folders.map((folder) => join(folder, name)));
  return paths.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export function whyLacking(...programs) {
  const missing = programs.filter((program) => programPath(program) === undefined);
  if (missing.length === 0) return null;
  const packages = [...new Set(missing.map((program) => PROGRAMS[program].package))].join(' ');
  return `${missing.join(' and ')} not found (on Debian: apt-get install ${packages})`;
}

export function lacks(what, ...programs) {
  return skips(what, whyLacking(...programs));
}

export function skips(what, why) {
  if (why === null) return false;
  if (process.env.CI) throw new Error(`${what}: ${why}`);
  process.stderr.write(`SKIPPED ${what}: ${why}\n`);
  return true;
}
