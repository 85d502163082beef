import { type GatewayOptions, type LocalGateway, startGateway } from '../../server/gateway.js';
import { makeLogger } from '../../server/ground/logger.js';
import { type Config, readConfig } from '../../server/settings/config.js';

/** Settings for a test that goes faster than a client may. */
export const NO_RATES = {
  ROWCAST_CONNECT_RATE: '1000000',
  ROWCAST_ADDRESS_CONNECT_RATE: '1000000',
  ROWCAST_ADDRESS_REQUEST_RATE: '1000000',
  ROWCAST_ADDRESS_POLL_RATE: '1000000',
  ROWCAST_USER_RATE: '1000000',
  ROWCAST_FRAME_RATE: '1000000',
};

/** A gateway in this process, on a free port. Settings as in the environment; `values` also of what is no setting. */
export function startTestGateway(
  databaseUrl: string,
  settings: Record<string, string> = {},
  values: Partial<Config> = {},
  options: GatewayOptions = { dashboard: null },
): Promise<LocalGateway> {
  const config = { ...readConfig({ ROWCAST_PORT: '0', ROWCAST_LOG_LEVEL: 'error', ...settings }), ...values };
  return startGateway(config, databaseUrl, makeLogger(config.logLevel), options);
}
