import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** The folder of package.json: above this file in the source as well as in `dist`. */
export function packageRoot(): string {
  let folder = import.meta.dirname;
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return folder;
}
