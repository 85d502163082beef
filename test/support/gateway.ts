import { readConfig } from '../../server/config.js';
import { type Gateway, startGateway } from '../../server/gateway.js';
import { makeLogger } from '../../server/logger.js';

/** A gateway in this process, on a free port. Settings as in the environment. */
export function startTestGateway(databaseUrl: string, settings: Record<string, string> = {}): Promise<Gateway> {
  const config = readConfig({ ROWCAST_PORT: '0', ROWCAST_LOG_LEVEL: 'error', ...settings });
  return startGateway(config, databaseUrl, makeLogger(config.logLevel));
}
