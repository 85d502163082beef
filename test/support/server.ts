import {
  type EmbeddedOptions,
  type EmbeddedPostgres,
  startEmbedded as startClosed,
} from '../../server/postgres/embedded.js';

export type { EmbeddedPostgres };

/** A server that listens on TCP as well, for tests with proxies, several machines or programs that know no socket. */
export function startEmbedded(options: EmbeddedOptions): Promise<EmbeddedPostgres> {
  return startClosed({ ...options, settings: { listen_addresses: '127.0.0.1', ...options.settings } });
}
