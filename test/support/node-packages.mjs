/** The versions of Node.js after the one that runs the tests, from the packages that npm's package `node` installs. */
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { beside, installMissing } from './packages-beside.mjs';

const PACKAGE = `node-${process.platform}-${process.arch}`;
const places = ['22.23.3', '24.21.0'].map((version) => beside('rowcast-node', PACKAGE, version));

export function packagedNodes() {
  return places.map(({ version, installed, root }) => ({
    version,
    program: installed ? join(root, 'bin/node') : null,
  }));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) installMissing(places);
