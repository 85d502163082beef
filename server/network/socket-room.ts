import type { Server } from 'node:http';
import type { Logger } from '../ground/logger.js';
import { openFileLimit, RAISE_OPEN_FILES } from '../ground/open-files.js';

/** The number of files reserved for other uses than clients and database connections. */
const RESERVED = 64;

/** Minimum time between two log lines, in milliseconds. */
const LOG_INTERVAL = 60_000;

/**
 * Limits the number of client sockets, if the process may open few files, so that some remain for database connections. Without
 * the limit clients could use all of them: a lost database connection could not be reopened, and the system would disconnect
 * further clients without a log line.
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
    logger.warn(
      { openFiles: files, fix: RAISE_OPEN_FILES },
      'connections are dropped: the limit of open files is reached',
    );
  });
}
