/**
 * Composes the half of a gateway that faces its clients: the HTTP server with its routes, the doors for WebSockets, HTTP
 * requests and subscriptions of this process, and the limits that they share. Every client becomes a `Connection`,
 * whatever its transport. `startGateway` calls it with the sources and the extensions.
 */
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { makeAuthenticator } from './auth/authenticator.js';
import { Connection, type ConnectionOptions } from './connection/connection.js';
import type { Logger } from './ground/logger.js';
import type { Metrics } from './ground/metrics.js';
import { Refusal } from './ground/refusal.js';
import { apiRoutes } from './http/api/router.js';
import { makeApp } from './http/app.js';
import type { Charge } from './http/body.js';
import { tokenReader } from './http/credentials.js';
import { crossOrigin } from './http/cross-origin.js';
import { dashboardRoutes } from './http/dashboard.js';
import { eventRoutes } from './http/events.js';
import { identifyByFirst } from './http/first-command.js';
import { limitedBy } from './http/limit.js';
import { rowsRoutes } from './http/rows.js';
import { makeServer } from './http/server.js';
import { ticketRoutes } from './http/tickets.js';
import { Delivery } from './limits/delivery.js';
import { Limiter } from './limits/limiter.js';
import { UserLimits } from './limits/users.js';
import { clientAddress } from './network/address.js';
import { originPolicy } from './network/origins.js';
import { keepSocketRoom } from './network/socket-room.js';
import type { Clock } from './ports/clock.js';
import type { Peers, Transport } from './ports/door.js';
import type { Extension, ExtensionContext } from './ports/extension.js';
import type { PrincipalOf } from './ports/principal.js';
import { type Config, needsToken } from './settings/config.js';
import { connectionsOf, type Sources } from './sources.js';
import { InProcessDoor } from './transport/in-process.js';
import { RequestDoor } from './transport/requests.js';
import { WebSocketDoor } from './transport/websocket.js';

export interface DoorsOptions {
  readonly config: Config;
  readonly sources: Sources;
  readonly extensions: readonly Extension[];
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: Metrics;
  readonly peers: Peers | null;
  /** The folder of the built page; null if there is none. */
  readonly dashboard: string | null;
}

export interface Doors {
  /** The context that the extensions got. */
  readonly context: ExtensionContext;
  /** Listens. Resolves to the URL, such as `http://127.0.0.1:4400`. */
  open(): Promise<string>;
  /** Closes every connection with `shutting_down`. */
  close(): Promise<void>;
}

export function makeDoors(options: DoorsOptions): Doors {
  const { config, sources, extensions, clock, logger, metrics, peers, dashboard } = options;
  const { hub, access, tickets, databaseFor } = sources;
  const { heartbeat } = config;
  const authenticator = makeAuthenticator(config, { tickets, logger });
  const limits = { maxFrameBytes: config.maxFrameBytes, maxSubscriptions: config.maxSubscriptions };
  const { connectTimeout, refreshTimeout } = config;
  const delivered = (events: number, age: number | null) => metrics.delivered(events, age);
  const common = { hub, access, authenticator, clock, logger, limits, connectTimeout, refreshTimeout, delivered };
  const tokenOf = tokenReader(config.cookie);
  const users = new UserLimits(new Limiter({ each: { places: config.userConnections, rate: config.userRate } }));
  const principalOf: PrincipalOf = async (request) => {
    const principal = await authenticator.authenticate({ token: tokenOf(request) });
    users.spend(principal);
    return principal;
  };
  const connect = (
    id: string,
    transport: Transport,
    request: IncomingMessage,
    options: Pick<ConnectionOptions, 'heartbeat' | 'fresh' | 'waits'>,
  ) => new Connection({ ...common, id, transport, token: tokenOf(request), principalLimits: users, ...options });
  const addresses = new Limiter({
    each: { places: config.addressConnections, rate: config.addressConnectRate },
    all: { places: config.maxConnections, rate: config.connectRate },
  });
  const credentials = config.cookie !== undefined;
  const refusalOf = originPolicy({ origins: config.origins, local: !needsToken(config), cookie: credentials });
  const edge = {
    sendBufferBytes: config.sendBufferBytes,
    addresses,
    trustedProxies: config.trustProxy,
    heartbeat,
    metrics,
  };
  const compression = config.compression === 'on';
  const delivery = new Delivery();
  const requests = new RequestDoor({ ...edge, pageBytes: config.pageBytes, delivery, connect, peers });
  const spender = (rate: number) => {
    const limiter = new Limiter({ each: { rate } });
    return (request: IncomingMessage, count?: number) =>
      limiter.spend(clientAddress(request, config.trustProxy), count)?.retryAfter ?? 0;
  };
  const spend = spender(config.addressPollRate); // polls are many and cheap
  const charge: Charge = (request, principal, count) => {
    users.spend(principal, count);
    const retryAfter = spend(request, count);
    if (retryAfter > 0) throw new Refusal('rate_limited', undefined, retryAfter);
  };
  const eventOptions = {
    door: requests,
    principalOf,
    ...limits,
    cache: config.cache,
    compression,
    limit: limitedBy(spend),
    identify: identifyByFirst(authenticator, tokenOf),
    charge,
  };
  const inProcess = new InProcessDoor({
    logger,
    sendBufferBytes: config.sendBufferBytes,
    connect: (id, transport, principal) =>
      new Connection({ ...common, id, transport, heartbeat, authenticator: { authenticate: async () => principal } }),
  });
  const context: ExtensionContext = {
    door: requests,
    inProcess,
    onRows: (stream, listener) => sources.arrivals.on(stream, listener),
    access,
    databaseFor,
    principalOf,
    limit: eventOptions.limit,
    cache: config.cache,
    bounds: config,
    alerts: config,
    carrierUrl: config.carrierUrl,
    executionDays: config.executionDays,
    clock,
    logger,
    metrics,
  };
  const api = apiRoutes({
    apis: extensions.flatMap((extension) => extension.api?.(context) ?? []),
    tokens: needsToken(config) ? { cookie: config.cookie, anonymous: config.anonymous === 'on' } : null,
    principalOf,
    databaseFor,
    limit: eventOptions.limit,
    maxBodyBytes: config.apiBodyBytes,
    charge,
    delivery,
    users,
    logger,
  });
  const page = config.dashboard === 'off' ? null : dashboard;
  const app = makeApp({
    crossOrigin: crossOrigin({
      refusalOf,
      open: !credentials && config.origins === '*',
      exposedHeaders: extensions.flatMap(({ exposedHeaders = [] }) => exposedHeaders),
      credentials,
    }),
    routes: [
      api,
      eventRoutes(eventOptions),
      ticketRoutes({ ...eventOptions, tickets }),
      rowsRoutes({ ...eventOptions, rows: sources.rows, access, delivery, users }),
      ...extensions.flatMap((extension) => extension.routes?.(context) ?? []),
    ],
    limit: limitedBy(spender(config.addressRequestRate)),
    dashboard:
      page === null
        ? null
        : dashboardRoutes(
            page,
            extensions.map(({ name }) => name),
          ),
    health: () => sources.health(),
    channels: (limit) => sources.channels(limit),
    metrics: () => metrics.scrape(),
    principalOf,
    tokenOf,
    logger,
  });
  const { server, stop } = makeServer(app, config.connectTimeout);
  keepSocketRoom(server, connectionsOf(config), logger);
  const sockets = new WebSocketDoor(server, {
    ...edge,
    maxConnections: config.maxConnections,
    path: '/v1/ws',
    compression,
    ...limits,
    frameRate: config.frameRate,
    byteRate: config.byteRate,
    logger,
    refusalOf,
    connect: (id, transport, request) => connect(id, transport, request, { heartbeat }),
  });
  metrics.gaugeBy('connections', 'Open connections.', 'transport', () => ({
    websocket: sockets.connections,
    ...requests.connectionsBy,
    in_process: inProcess.connections,
  }));
  const stalled = () => sockets.stalled + requests.stalled;
  metrics.gauge('stalled_subscriptions', 'Subscriptions with events that wait until the client reads.', stalled);
  return {
    context,
    async open() {
      for (const door of [sockets, requests]) door.start();
      server.listen(config.port, config.host);
      await once(server, 'listening');
      const { address, family, port } = server.address() as AddressInfo;
      return `http://${family === 'IPv6' ? `[${address}]` : address}:${port}`;
    },
    async close() {
      inProcess.stop();
      const { shutdownTimeout } = config;
      await Promise.all([stop(shutdownTimeout), sockets.stop(shutdownTimeout), requests.stop(shutdownTimeout)]);
    },
  };
}
