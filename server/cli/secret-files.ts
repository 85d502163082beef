import { readFileSync } from 'node:fs';
import { ConfigError } from '../settings/config.js';
import { type DatabaseUrl, withoutPassword } from '../settings/database-url.js';
import type { Setting } from '../settings/setting.js';
import { settings } from '../settings/table.js';

type Environment = Readonly<Record<string, string | undefined>>;

/** Replaces each `…_FILE` variable of a secret setting by the content of its file. Throws `ConfigError`. */
export function withFiles(env: Environment): Environment {
  const result: Record<string, string | undefined> = { ...env };
  const faults: string[] = [];
  for (const { env: variable, file = false } of Object.values<Setting>(settings)) {
    const named = `${variable}_FILE`;
    const path = env[named];
    if (!file || path === undefined) continue;
    delete result[named];
    if (path === '') continue;
    if (env[variable]) faults.push(`${named}: ${variable} is set as well; set only one of them`);
    else {
      try {
        result[variable] = contentOf(path);
      } catch (error) {
        faults.push(`${named}: cannot read ${path}: ${(error as Error).message}`);
      }
    }
  }
  if (faults.length > 0) throw new ConfigError(faults.join('\n'));
  return result;
}

/**
 * Returns the URL of a gateway that was started with `text`: if that came from DATABASE_URL_FILE, with the password that the
 * file holds now. The last usable content is kept while the file is missing or half written, and if anything but the password
 * differs, because all connections must lead to the same database.
 */
export function rotatingUrl(text: string, env: Environment = process.env): DatabaseUrl {
  const path = env.DATABASE_URL_FILE;
  if (!path) return text;
  const place = withoutPassword(text);
  let last = text;
  return () => {
    try {
      const current = contentOf(path).trim();
      if (withoutPassword(current) === place) last = current;
    } catch {
      // The server refuses the last content if it is out of date, and the log says so.
    }
    return last;
  };
}

/** Reads a file without the line break at its end, which editors and `echo` add. Throws if it is empty. */
function contentOf(path: string): string {
  const content = readFileSync(path, 'utf8').replace(/\r?\n$/, '');
  if (content === '') throw new Error('it is empty');
  return content;
}
