/** `npm run bench:peers`: installs the npm packages that the benchmark compares with, and says what else it would use. */
import { installMissing } from '../support/packages-beside.mjs';
import { peers } from './against/all.js';
import { places } from './against/peer.js';

installMissing(places());
for (const { name, missing } of peers) {
  const why = missing();
  if (why !== null) process.stdout.write(`${name} is not installed (${why}), and is left out\n`);
}
