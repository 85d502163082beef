import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { jwtAuthenticator, localAuthenticator } from './auth/authenticator.js';
import { systemClock } from './clock.js';
import { type Config, isLoopbackHost, isLoopbackOrigin } from './config.js';
import { AddressRates, Admission } from './connection/admission.js';
import { Connection, type ConnectionOptions } from './connection/connection.js';
import { type AppOptions, makeApp } from './http/app.js';
import { durableStreamRoutes } from './http/durable-streams.js';
import { eventRoutes } from './http/events.js';
import { limitedBy } from './http/limit.js';
import { makeServer } from './http/server.js';
import type { Hub } from './hub/hub.js';
import type { Logger } from './logger.js';
import type { Metrics } from './metrics.js';
import type { Peers, Transport } from './ports.js';
import { addressOf } from './transport/address.js';
import { RequestDoor } from './transport/requests.js';
import { WebSocketDoor } from './transport/websocket.js';

export interface DoorsOptions extends Pick<AppOptions, 'health' | 'channels'> {
  readonly config: Config;
  readonly hub: Hub;
  readonly metrics: Metrics;
  readonly logger: Logger;
  readonly peers: Peers | null;
}

/** Where clients come in: one HTTP server, and behind it a connection for each of them, whatever carries it. */
export interface Doors {
  readonly connections: number;
  /** Listens; resolves to the address, `http://127.0.0.1:4400`. */
  open(): Promise<string>;
  /** Sends every client away to come back elsewhere. */
  close(): Promise<void>;
}

export function makeDoors({ config, hub, metrics, logger, peers, health, channels }: DoorsOptions): Doors {
  const { heartbeat } = config;
  const authenticator = config.jwtSecret === undefined ? localAuthenticator : jwtAuthenticator(config.jwtSecret);
  const limits = { maxFrameBytes: config.maxFrameBytes, maxSubscriptions: config.maxSubscriptions };
  const common = { hub, authenticator, clock: systemClock, logger, limits, connectTimeout: config.connectTimeout };
  const connect = (id: string, transport: Transport, options: Pick<ConnectionOptions, 'heartbeat' | 'fresh'>) =>
    new Connection({ ...common, id, transport, ...options });
  const admission = new Admission(
    {
      connections: config.maxConnections,
      addressConnections: config.addressConnections,
      rate: config.connectRate,
      addressRate: config.addressConnectRate,
    },
    () => performance.now(),
  );
  // Without a secret, being on this machine is what admits; the page of a stranger is not.
  const admitOrigin = (origin: string | undefined) =>
    config.jwtSecret !== undefined || origin === undefined || isLoopbackOrigin(origin);
  const edge = {
    sendBufferBytes: config.sendBufferBytes,
    admission,
    trustedProxies: config.trustProxy,
    heartbeat,
    metrics,
  };
  const compression = config.compression === 'on';
  const requests = new RequestDoor({ ...edge, pageBytes: config.pageBytes, connect, peers });
  const limitTo = (perSecond: number) => {
    const rates = new AddressRates(perSecond);
    return limitedBy((request) => rates.take(addressOf(request, config.trustProxy), performance.now()));
  };
  const routes = {
    door: requests,
    authenticator,
    ...limits,
    cache: config.cache,
    compression,
    limit: limitTo(config.addressPollRate), // polls are many and cheap
  };
  const app = makeApp({
    admits: ({ headers }) =>
      admitOrigin(headers.origin) && (config.jwtSecret !== undefined || isLoopbackHost(headers.host)),
    routes: [eventRoutes(routes), durableStreamRoutes(routes)],
    limit: limitTo(config.addressRequestRate),
    health,
    channels,
    metrics: () => metrics.scrape(),
    authenticator,
    logger,
  });
  const server = makeServer(app, config.connectTimeout);
  const sockets = new WebSocketDoor(server, {
    ...edge,
    path: '/v1/ws',
    compression,
    ...limits,
    frameRate: config.frameRate,
    byteRate: config.byteRate,
    logger,
    admitOrigin,
    connect: (id, transport) => connect(id, transport, { heartbeat }),
  });
  return {
    get connections() {
      return sockets.connections + requests.connections;
    },
    async open() {
      server.listen(config.port, config.host);
      await once(server, 'listening');
      const { address, family, port } = server.address() as AddressInfo;
      return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
    },
    async close() {
      server.close();
      await Promise.all([sockets.stop(config.shutdownTimeout), requests.stop(config.shutdownTimeout)]);
      server.closeAllConnections();
    },
  };
}
