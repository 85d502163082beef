/**
 * How much of the gateway clients may use: all of them, one address, one user, one connection. Each bound protects the
 * other clients: what exceeds it is refused with a retry hint, or read no faster. The defaults fit a gateway on two cores.
 */
import { bytes, count, KiB, MiB, milliseconds, type Setting, whole } from './setting.js';

export const limitSettings = {
  maxConnections: {
    env: 'ROWCAST_MAX_CONNECTIONS',
    schema: count.default(10_000),
    unit: 'connections',
    about: 'Connections at once.',
  },
  addressConnections: {
    env: 'ROWCAST_ADDRESS_CONNECTIONS',
    schema: count.default(5000),
    unit: 'connections',
    about: 'Connections at once from one address: by default half of all, so that no address takes all of them.',
  },
  connectRate: {
    env: 'ROWCAST_CONNECT_RATE',
    schema: count.default(1200),
    unit: 'connections per second',
    about:
      'New connections; after a pause, twice as many at once. Further clients are told when to come back. By default as many as one core can take: each costs 0.6 to 0.85 ms.',
  },
  addressConnectRate: {
    env: 'ROWCAST_ADDRESS_CONNECT_RATE',
    schema: count.default(600),
    unit: 'connections per second',
    about: 'New connections from one address: by default half of all. An IPv6 network /64 is one address.',
  },
  addressRequestRate: {
    env: 'ROWCAST_ADDRESS_REQUEST_RATE',
    schema: count.default(50),
    unit: 'requests per second',
    about:
      'HTTP requests from one address, except `/healthz`, `/readyz` and requests that have a limit of their own; after a pause, twice as many at once.',
  },
  addressPollRate: {
    env: 'ROWCAST_ADDRESS_POLL_RATE',
    schema: count.default(500),
    unit: 'requests per second',
    about: 'Polls, commands, tickets, reads of Durable Streams and requests to the HTTP API from one address.',
  },
  userConnections: {
    env: 'ROWCAST_USER_CONNECTIONS',
    schema: count.default(1000),
    unit: 'connections',
    about: 'Connections at once of one user, from all addresses. The role `service_role` has no such limit.',
  },
  userRate: {
    env: 'ROWCAST_USER_RATE',
    schema: count.default(100),
    unit: 'requests per second',
    about:
      'Requests of one user, with all its tokens: new connections, polls, commands, tickets and the HTTP API; after a pause, twice as many at once.',
  },
  trustProxy: {
    env: 'ROWCAST_TRUST_PROXY',
    schema: whole(0, 10).default(0),
    unit: 'proxies',
    about: 'Number of proxies in front of the gateway that add to `X-Forwarded-For`; 0 uses the address of the socket.',
  },
  maxSubscriptions: {
    env: 'ROWCAST_MAX_SUBSCRIPTIONS',
    schema: count.default(100),
    unit: 'subscriptions',
    about: 'Subscriptions of one connection.',
  },
  frameRate: {
    env: 'ROWCAST_FRAME_RATE',
    schema: count.default(100),
    unit: 'frames per second',
    about:
      'Frames from one client, and 655 bytes for each of them (64 KiB per second by default). More is sent at once after a pause: two frames per subscription that the client may have, and 1 MiB. A client that sends more is read more slowly.',
  },
  pageBytes: {
    env: 'ROWCAST_PAGE_BYTES',
    schema: bytes.default(256 * KiB),
    unit: 'bytes',
    about:
      'Size of one page of events, and of what may wait to be sent on one connection before it is given no more. A larger row is a page of its own.',
  },
  eventBytes: {
    env: 'ROWCAST_EVENT_BYTES',
    schema: whole(1 * KiB, 64 * MiB).default(16 * MiB),
    unit: 'bytes',
    about: 'Size of the largest event, as JSON. A `reset` tells readers which event is larger; events go on after it.',
  },
  cacheBytes: {
    env: 'ROWCAST_CACHE_BYTES',
    schema: bytes.default(32 * 1024 * KiB),
    unit: 'bytes',
    about: 'Pages kept in memory, for all channels together.',
  },
  heartbeat: {
    env: 'ROWCAST_HEARTBEAT',
    schema: whole(100, 600_000).default(25_000),
    unit: 'ms',
    about:
      'Interval at which the gateway pings each client. A client that was silent for two of them is disconnected before the third is over.',
  },
  connectTimeout: {
    env: 'ROWCAST_CONNECT_TIMEOUT',
    schema: milliseconds.default(10_000),
    unit: 'ms',
    about: 'How long a new connection may take to send `connect`.',
  },
} as const satisfies Record<string, Setting>;
