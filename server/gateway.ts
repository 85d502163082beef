import { type Doors, makeDoors } from './doors.js';
import { makeExtensions } from './extensions.js';
import type { Logger } from './ground/logger.js';
import { Metrics } from './ground/metrics.js';
import { builtDashboard } from './http/dashboard.js';
import { systemClock } from './ports/clock.js';
import type { InProcess, Peers } from './ports/door.js';
import type { Extension, ExtensionContext } from './ports/extension.js';
import { installedExtensions } from './postgres/extensions.js';
import type { Config } from './settings/config.js';
import type { DatabaseUrl } from './settings/database-url.js';
import { Sources } from './sources.js';

export interface Gateway {
  /** `http://127.0.0.1:4400` */
  readonly url: string;
  /** Closes every connection with `shutting_down`, and stops everything that was started. */
  stop(): Promise<void>;
}

/** A gateway in this process, to which code of the process can subscribe without a network connection. */
export interface LocalGateway extends Gateway {
  readonly inProcess: InProcess;
  /** Calls `listener` when rows of a stream have arrived, of any channel. */
  readonly onRows: ExtensionContext['onRows'];
}

export interface GatewayOptions {
  readonly metrics?: Metrics;
  /** The other gateways on its port. */
  readonly peers?: Peers | null;
  /** Default: those that are installed in the database. */
  readonly extensions?: readonly Extension[];
  /** The folder of the page at `/`. Default: the one that the package was built with. */
  readonly dashboard?: string | null;
}

/** Starts a gateway: connects its sources, starts its extensions, and then listens. Rejects if the database cannot be reached. */
export async function startGateway(
  config: Config,
  databaseUrl: DatabaseUrl,
  logger: Logger,
  { metrics = new Metrics(), peers = null, dashboard = builtDashboard(), ...options }: GatewayOptions = {},
): Promise<LocalGateway> {
  const clock = systemClock;
  const extensions = options.extensions ?? makeExtensions(await installedExtensions(databaseUrl));
  const sources = new Sources({ config, databaseUrl, clock, logger, metrics });
  let doors: Doors | undefined;
  const stop = async () => {
    try {
      await doors?.close();
      for (const extension of extensions.toReversed()) await extension.stop?.();
    } finally {
      await sources.stop();
    }
  };
  try {
    doors = makeDoors({ config, sources, extensions, clock, logger, metrics, peers, dashboard });
    const { context } = doors;
    await sources.start();
    for (const extension of extensions) await extension.start?.(context);
    const url = await doors.open();
    logger.info({ url, streams: sources.streams, extensions: extensions.map(({ name }) => name) }, 'gateway started');
    const { inProcess, onRows } = context;
    return { url, inProcess, onRows, stop };
  } catch (error) {
    await stop().catch(() => {});
    throw error;
  }
}
