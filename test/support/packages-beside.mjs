/**
 * npm packages with programs of other versions, which tests run. They are no dependencies: npm would install them for every
 * contributor and in every image, 60 MB and more each, and as optional ones in production too. They are installed beside, where
 * `npm ci` removes them, and again from npm's cache.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const CACHE = fileURLToPath(new URL('../../node_modules/.cache', import.meta.url));
const FLAGS = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];

/** One version of a package: where it is, and whether it is there. `others`: what is installed with it, as `name@version`. */
export function beside(folder, name, version, others = []) {
  const home = join(CACHE, folder, version);
  const complete = join(home, 'complete');
  const root = join(home, 'node_modules', name);
  return { name, version, others, home, complete, root, installed: existsSync(complete) };
}

/** Installs those that are not there; `finish` is called with the folder of each. One line for each that cannot be installed. */
export function installMissing(places, finish = () => {}) {
  for (const { name, version, others, home, complete, root } of places.filter(({ installed }) => !installed)) {
    try {
      mkdirSync(home, { recursive: true });
      execFileSync('npm', ['install', '--prefix', home, ...FLAGS, `${name}@${version}`, ...others], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      finish(root);
      mkdirSync(complete);
    } catch (error) {
      process.stderr.write(`${name} ${version} cannot be installed, and is not tested: ${error.message}\n`);
    }
  }
}
