/**
 * The two packages as npm would publish them, and projects that have installed them. All of it happens in a folder of its
 * own: the build of the checkout is left alone, and two test runs do not meet.
 */
import { execFile } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { packageRoot } from '../../server/ground/package-root.js';

const execute = promisify(execFile);
const ROOT = packageRoot();

export interface Outcome {
  readonly code: number;
  readonly output: string;
  readonly errors: string;
}

/** Runs a program to its end, without the settings of this process: those of npm it keeps. */
export async function run(
  cwd: string,
  [file = '', ...args]: readonly string[],
  env: Record<string, string> = {},
): Promise<Outcome> {
  const own = Object.entries(process.env).filter(([name]) => !/^(ROWCAST_|DATABASE_URL$|NODE_OPTIONS$)/.test(name));
  try {
    const { stdout, stderr } = await execute(file, args, { cwd, env: { ...Object.fromEntries(own), ...env } });
    return { code: 0, output: stdout, errors: stderr };
  } catch (error) {
    const { code, stdout, stderr } = error as { code?: unknown; stdout: string; stderr: string };
    if (typeof code !== 'number') throw error;
    return { code, output: stdout, errors: stderr };
  }
}

async function succeed(cwd: string, command: readonly string[]): Promise<string> {
  const { code, output, errors } = await run(cwd, command);
  if (code !== 0) throw new Error(`${command.join(' ')} ended with ${code}\n${output}\n${errors}`);
  return output;
}

/** A program of a development dependency of this repository. */
export const tool = (name: string): string => join(ROOT, 'node_modules/.bin', name);

/** What is built from, and what `files` names besides. */
const SOURCES = ['package.json', 'tsconfig.json', 'tsconfig.build.json', 'build.mjs', 'bundle.mjs', 'dashboard.mjs'];
const FOLDERS = ['client', 'server', 'sql', 'docs'];

/** Builds and packs a copy of the checkout; the paths of the tarballs. */
export async function packPackages(folder: string): Promise<{ client: string; rowcast: string }> {
  const copy = join(folder, 'checkout');
  const texts = readdirSync(ROOT).filter((name) => /\.md$|^LICENSE$/.test(name));
  for (const name of [...SOURCES, ...FOLDERS, ...texts])
    cpSync(join(ROOT, name), join(copy, name), {
      recursive: true,
      filter: (path) => !/\/(dist|node_modules)$/.test(path),
    });
  linkDependencies(copy);
  await succeed(copy, [process.execPath, 'build.mjs']);
  await succeed(copy, [
    ...['npm', 'pack', '--ignore-scripts', '--workspaces', '--include-workspace-root'],
    ...['--pack-destination', folder],
  ]);
  const { version } = manifestOf(copy);
  return { client: join(folder, `rowcast-client-${version}.tgz`), rowcast: join(folder, `rowcast-${version}.tgz`) };
}

/** The packages of the checkout, but for our own: that of the copy. */
function linkDependencies(copy: string): void {
  const [from, to] = [join(ROOT, 'node_modules'), join(copy, 'node_modules')];
  mkdirSync(join(to, '@rowcast'), { recursive: true });
  symlinkSync(join(copy, 'client'), join(to, '@rowcast/client'));
  for (const name of readdirSync(from)) if (name !== '@rowcast') symlinkSync(join(from, name), join(to, name));
}

/** A new project that has installed these tarballs, and has these files. */
export async function makeProject(
  folder: string,
  { manifest = {}, install, files }: { manifest?: object; install: readonly string[]; files: Record<string, string> },
): Promise<string> {
  mkdirSync(folder);
  writeFileSync(join(folder, 'package.json'), JSON.stringify({ name: 'project', private: true, ...manifest }));
  for (const [name, text] of Object.entries(files)) writeFileSync(join(folder, name), text);
  await succeed(folder, ['npm', 'install', '--prefer-offline', '--no-audit', '--no-fund', ...install]);
  return folder;
}

export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly [field: string]: unknown;
}

export function manifestOf(folder: string): Manifest {
  return JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as Manifest;
}

/** The files below a folder, as paths within it. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1));
}
