import { readFileSync } from 'node:fs';

/** What to do where a process may open too few. */
export const RAISE_OPEN_FILES =
  'Raise the limit of open files of this process: ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of Docker.';

/** How many files, sockets among them, this process may open; null where that is not known or not bounded. */
export function openFileLimit(): number | null {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const [, soft] = /^Max open files\s+(\d+)/m.exec(limits) ?? [];
    return soft === undefined ? null : Number(soft);
  } catch {
    return null; // not Linux
  }
}
