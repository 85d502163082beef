import { pino } from 'pino';
import { type Gateway, startGateway } from '../../server/gateway.js';
import { readConfig } from '../../server/settings/config.js';
import { NO_RATES } from './gateway.js';

/** A gateway that logs all that it can, without the redaction, to where a test can read it. */
export async function startLoggingGateway(
  databaseUrl: string,
  settings: Record<string, string>,
  lines: string[],
): Promise<Gateway> {
  const config = readConfig({ ROWCAST_PORT: '0', ...NO_RATES, ...settings });
  const logger = pino({ level: 'trace', base: null }, { write: (line: string) => void lines.push(line) });
  return startGateway(config, databaseUrl, logger);
}
