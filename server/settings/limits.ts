import { bytes, count, KiB, type Setting, whole } from './setting.js';

/** What clients may take of the gateway. */
export const limitSettings = {
  maxConnections: {
    env: 'ROWCAST_MAX_CONNECTIONS',
    schema: count.default(10_000),
    unit: 'connections',
    about: 'Clients connected at once.',
  },
  addressConnections: {
    env: 'ROWCAST_ADDRESS_CONNECTIONS',
    schema: count.default(5000),
    unit: 'connections',
    about: 'Of these, from one address: by default half of them, so that no single address takes all.',
  },
  connectRate: {
    env: 'ROWCAST_CONNECT_RATE',
    schema: count.default(500),
    unit: 'connections per second',
    about: 'New connections that are admitted; twice as many at once after a rest. The others hear when to come back.',
  },
  addressConnectRate: {
    env: 'ROWCAST_ADDRESS_CONNECT_RATE',
    schema: count.default(250),
    unit: 'connections per second',
    about: 'The same for one address. An IPv6 network /64 counts as one.',
  },
  addressRequestRate: {
    env: 'ROWCAST_ADDRESS_REQUEST_RATE',
    schema: count.default(50),
    unit: 'requests per second',
    about:
      'HTTP requests from one address, but for `/healthz`, `/readyz` and those with a limit of their own; twice as many at once after a rest.',
  },
  addressPollRate: {
    env: 'ROWCAST_ADDRESS_POLL_RATE',
    schema: count.default(500),
    unit: 'requests per second',
    about: 'The same for polls, commands, tickets, reads of Durable Streams and the HTTP API.',
  },
  userConnections: {
    env: 'ROWCAST_USER_CONNECTIONS',
    schema: count.default(1000),
    unit: 'connections',
    about: 'Connections of one user at once, from wherever. A service with the role `service_role` has no such limit.',
  },
  userRate: {
    env: 'ROWCAST_USER_RATE',
    schema: count.default(100),
    unit: 'requests per second',
    about:
      'Requests of one user, with whatever token: new connections, polls, commands, tickets and the HTTP API; twice as many at once after a rest.',
  },
  trustProxy: {
    env: 'ROWCAST_TRUST_PROXY',
    schema: whole(0, 10).default(0),
    unit: 'proxies',
    about: 'Proxies in front of the gateway that add to `X-Forwarded-For`; 0 takes the address of the socket.',
  },
  maxSubscriptions: {
    env: 'ROWCAST_MAX_SUBSCRIPTIONS',
    schema: count.default(100),
    unit: 'subscriptions',
    about: 'Subscriptions of one connection.',
  },
  maxFrameBytes: {
    env: 'ROWCAST_MAX_FRAME_BYTES',
    schema: bytes.default(64 * KiB),
    unit: 'bytes',
    about: 'The largest command. One over 16 times this size ends its connection.',
  },
  frameRate: {
    env: 'ROWCAST_FRAME_RATE',
    schema: count.default(100),
    unit: 'frames per second',
    about:
      'Frames of one client, after a burst of one second and two per subscription that it may have. It is read no faster.',
  },
  byteRate: {
    env: 'ROWCAST_BYTE_RATE',
    schema: bytes.default(64 * KiB),
    unit: 'bytes per second',
    about:
      'What one client may send, after a burst of one second and 16 times the largest command. It is read no faster.',
  },
  sendBufferBytes: {
    env: 'ROWCAST_SEND_BUFFER_BYTES',
    schema: bytes.default(256 * KiB),
    unit: 'bytes',
    about: 'What may wait in one connection before its cursors stand still.',
  },
} as const satisfies Record<string, Setting>;
