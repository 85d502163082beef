import { createServer } from 'node:net';
import { afterEach, describe, expect, test } from '@jest/globals';
import {
  createClient,
  type PollingOptions,
  type PollingStats,
  type SessionState,
  type Transport,
} from '../../client/index.js';
import type { RowcastError } from '../../client/node.js';
import { transportMemory } from '../../client/session/transport-memory.js';
import { testClient } from '../support/client.js';
import { FakeClock, settle } from '../support/fakes.js';
import { until } from '../support/until.js';

const URL = 'http://127.0.0.1:1';
/** Where a platform has none that works. */
class NoWebSocket extends EventTarget {
  static readonly CLOSING = 2;

  constructor() {
    super();
    queueMicrotask(() => this.dispatchEvent(new Event('error')));
  }

  close(): void {}
}
const WebSocket = NoWebSocket as unknown as typeof globalThis.WebSocket;

const never: typeof fetch = () => new Promise(() => {});

describe('url', () => {
  test.each(['localhost:4400', 'ftp://x', '', undefined as unknown as string, null as unknown as string])(
    '%s is no address of a gateway, and is not tried for ever',
    (url) => {
      for (const transports of [['websocket'], ['sse'], ['poll']] as Transport[][])
        for (const share of [false, true])
          expect(() => createClient({ url, share, transports, fetch: never, WebSocket })).toThrow(/^url: /);
    },
  );

  test.each(['http://x', 'https://x/path', 'ws://x', 'WSS://x'])('%s is one', (url) => {
    testClient({ url, fetch: never });
  });
});

test.each(['sse', 'poll', [], ['sse', 'long-poll'], null, {}])('transports %j: the error names the three', (given) => {
  for (const share of [false, true]) {
    const make = () => createClient({ url: URL, share, transports: given as Transport[], fetch: never });
    expect(make).toThrow(TypeError);
    expect(make).toThrow('websocket, sse, poll');
  }
});

describe('polling', () => {
  const make = (polling: PollingOptions) =>
    testClient({ url: URL, transports: ['poll'], fetch: never, polling } as never);
  const odd = ['2s', 0, -1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, null, {}, () => 1];
  const names = ['interval', 'running', 'pending', 'timeout', 'breakerFailures', 'breakerCooldown'];

  test.each(names)('%s that no timer can keep is a RangeError, whatever its type', (name) => {
    for (const value of odd) expect(() => make({ [name]: value })).toThrow(RangeError);
    make({ [name]: undefined });
    make({ [name]: 2 ** 31 - 1 });
  });

  test.each(['failureRate', 'response', 'recovery'])('so is a threshold %s that is no number', (name) => {
    for (const value of ['5%', -1, Number.NaN, null]) {
      expect(() => make({ thresholds: { [name]: value } as never })).toThrow(`polling.thresholds.${name}`);
    }
    for (const value of [0, Number.POSITIVE_INFINITY, undefined]) make({ thresholds: { [name]: value } as never });
  });
});

describe('a polling client whose code is being loaded', () => {
  const loaded = async () => {
    await import('../../client/polling/service.js');
    for (let turn = 0; turn < 10; turn += 1) await settle();
  };

  test('paused before, it asks nothing until it is resumed', async () => {
    const asked: unknown[] = [];
    const client = createClient({
      url: URL,
      transports: ['poll'],
      fetch: (...request) => {
        asked.push(request);
        return never(...request);
      },
    });
    try {
      client.pause();
      client.subscribe('message:a', { onEvent: () => {} });
      await loaded();
      expect([asked.length, client.stats().paused]).toEqual([0, true]);
      client.resume();
      await until(() => asked.length === 1, { what: 'a request' });
      expect(client.stats().paused).toBe(false);
    } finally {
      client.close();
    }
  });

  test('options that are undefined have their defaults', async () => {
    const told: number[] = [];
    const frames = [
      { type: 'connected', id: 1, session: 's', heartbeat: 1, limits: { maxFrameBytes: 1, maxSubscriptions: 1 } },
    ];
    let subscribed = 0;
    const client = createClient({
      url: URL,
      transports: ['poll'],
      polling: {
        interval: undefined,
        timeout: undefined,
        stateOf: undefined,
        thresholds: undefined,
        onStats: ({ interval }: PollingStats) => told.push(interval ?? 0),
      } as never,
      fetch: async (_, init) => {
        const commands = JSON.parse(String(init?.body)) as { type: string; id: number; channel: string }[];
        const replies = commands.map(({ type, id, channel }) =>
          type === 'connect'
            ? { ...frames[0], id }
            : { type: 'subscribed', id, channel, epoch: 'e', head: 0, floor: 1 },
        );
        subscribed += commands.length - 1;
        return Response.json({ frames: replies, positions: { 'message:a': 'e.0' } });
      },
    });
    try {
      client.subscribe('message:a', { onEvent: () => {} });
      await until(() => subscribed === 1 && told.at(-1) === 2_000, { what: 'the default interval' });
      expect(client.stats()).toMatchObject({ failures: 0, interval: 2_000 });
    } finally {
      client.close();
    }
  });
});

describe('what is remembered', () => {
  afterEach(() => {
    Reflect.deleteProperty(globalThis, 'localStorage');
  });

  /** A gateway to which SSE leads. */
  const stream: typeof fetch = async (_, init) => {
    const [connect] = JSON.parse(String(init?.body)) as { id: number }[];
    const frame = { type: 'connected', id: connect?.id, session: 's', heartbeat: 25_000, limits: {} };
    const text = `data: ${JSON.stringify(frame)}\n\n:\n\n`;
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        controller.enqueue(new TextEncoder().encode(text));
        init?.signal?.addEventListener('abort', () => controller.error(init.signal?.reason));
      },
    });
    return new Response(body, { headers: { 'Content-Type': 'text/event-stream' } });
  };

  test.each([
    ['sse', ['sse'], 'http://127.0.0.1:2'],
    [null, undefined, 'http://127.0.0.1:3'],
  ] as const)('a client that may only use %s teaches others nothing', async (confined, transports, url) => {
    const client = testClient({
      url,
      fetch: stream,
      WebSocket,
      ...(transports === undefined ? {} : { transports }),
    });
    client.subscribe('message:a', { onEvent: () => {} });
    await until(() => client.transport === 'sse', { what: 'a connection' });
    await settle();
    const learned = () => transportMemory(url, { now: () => Date.now(), after: new FakeClock().after }).read();
    if (confined === null) await until(() => learned() === 'sse', { what: 'the rung to be remembered' });
    else expect(learned()).toBeNull();
  });
});

test.each(['127.0.0.1', 'localhost'])('where nothing listens on %s the error says so', async (host) => {
  const server = createServer().listen(0);
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  for (const transports of [['sse'], ['poll']] as Transport[][]) {
    const errors: (RowcastError | undefined)[] = [];
    const onState = (_: SessionState, error?: RowcastError) => errors.push(error);
    const client = testClient({ url: `http://${host}:${port}`, transports, onState });
    client.subscribe('message:a', { onEvent: () => {} });
    await until(() => errors.some((error) => error?.message.includes('ECONNREFUSED')), { what: 'the error' });
    client.close();
  }
});

describe('a misspelt option is an error that names the nearest one', () => {
  test.each([
    ['onstate', 'onState'],
    ['transport', 'transports'],
    ['tokens', 'token'],
    ['websocket', 'WebSocket'],
    ['poling', 'polling'],
    ['URL', 'url'],
  ])('createClient: %s', (name, nearest) => {
    const make = () => createClient({ url: URL, fetch: never, WebSocket, [name]: 1 });
    expect(make).toThrow(new TypeError(`createClient: there is no option ${name}; the nearest is ${nearest}`));
  });

  test.each([
    ['onevent', 'onEvent'],
    ['since_', 'since'],
    ['Signal', 'signal'],
    ['onReset ', 'onReset'],
  ])('subscribe: %s', (name, nearest) => {
    const client = testClient({ url: URL, fetch: never, WebSocket });
    expect(() => client.subscribe('message:a', { [name]: 1 })).toThrow(
      new TypeError(`subscribe: there is no option ${name}; the nearest is ${nearest}`),
    );
    expect(client.state).toBe('waiting');
  });

  test('polling, and its thresholds', () => {
    const make = (polling: object) => () => createClient({ url: URL, transports: ['poll'], fetch: never, polling });
    expect(make({ intervall: 1 })).toThrow('polling: there is no option intervall; the nearest is interval');
    expect(make({ thresholds: { failurerate: 1 } })).toThrow('the nearest is failureRate');
  });
});

test('an option that is undefined is left out', () => {
  const options = { token: undefined, transports: undefined, share: undefined, onState: undefined } as const;
  const client = testClient({ url: URL, fetch: never, WebSocket, ...options });
  const none = { since: undefined, onEvent: undefined, onReset: undefined, onState: undefined, signal: undefined };
  expect(client.subscribe('message:a', none).state).toBe('waiting');
});
