import { readFileSync } from 'node:fs';

/** How to fix a limit on open files that is too low. */
export const RAISE_OPEN_FILES =
  'Raise the limit of open files of this process: ulimit -n, LimitNOFILE= of systemd, --ulimit nofile= of Docker.';

/** Returns the maximum number of files and sockets that this process may open; null if it is unknown or unlimited. */
export function openFileLimit(): number | null {
  try {
    const limits = readFileSync('/proc/self/limits', 'utf8');
    const [, soft] = /^Max open files\s+(\d+)/m.exec(limits) ?? [];
    return soft === undefined ? null : Number(soft);
  } catch {
    return null; // not Linux
  }
}
