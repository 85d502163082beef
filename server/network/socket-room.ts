import type { Server } from 'node:http';
import type { Logger } from '../ground/logger.js';
import { openFileLimit, RAISE_OPEN_FILES } from '../ground/open-files.js';

/** Files that are kept for other uses than clients, connections to the database apart. */
const RESERVED = 64;

/** Minimum time between two log lines, in milliseconds. */
const LOG_INTERVAL = 60_000;

/**
 * Leaves room for the connections to the database where a process may open few files. Without a bound clients take all of them; then
 * a connection that is lost cannot be opened again, and further clients are disconnected by the system without any trace.
 */
export function keepSocketRoom(
  server: Server,
  databaseConnections: number,
  logger: Logger,
  files = openFileLimit(),
): void {
  if (files === null) return;
  server.maxConnections = Math.max(1, files - RESERVED - databaseConnections);
  let loggedAt = Number.NEGATIVE_INFINITY;
  server.on('drop', () => {
    if (performance.now() - loggedAt < LOG_INTERVAL) return;
    loggedAt = performance.now();
    logger.warn({ openFiles: files, fix: RAISE_OPEN_FILES }, 'connections are dropped: no file is left for them');
  });
}
