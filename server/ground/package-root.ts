import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Returns the folder of package.json, from the source tree as well as from `dist`. */
export function packageRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}
