/** What happens on the way between clients, gateways and the database. */
import { setTimeout as delay } from 'node:timers/promises';
import type { FaultProxy } from '../../support/proxy.js';
import type { Random } from '../../support/random.js';
import { until } from '../../support/until.js';
import type { Gateway } from '../gateway.js';
import type { Nemesis, Strike } from './nemesis.js';

type Leg = 'client' | 'database';
const DIRECTIONS = ['up', 'down', 'both'] as const;

function proxyOf(gateway: Gateway, leg: Leg): FaultProxy {
  return leg === 'client' ? gateway.front : gateway.back;
}

/** Both legs work again: the gateway answers through its own proxy, and reads the database through the other. */
async function whole(gateway: Gateway): Promise<void> {
  await gateway.ready();
  const url = `http://127.0.0.1:${gateway.front.port}/healthz`;
  await until(
    () =>
      fetch(url, { signal: AbortSignal.timeout(500) }).then(
        ({ ok }) => ok,
        () => false,
      ),
    {
      what: `${gateway.name} to answer through its proxy`,
    },
  );
}

/** A nemesis for each of the two legs; `fault` breaks the proxy and says how. */
function onBoth(
  name: string,
  about: string,
  lasts: readonly [number, number],
  fault: (proxy: FaultProxy, random: Random) => string,
): Nemesis[] {
  return (['client', 'database'] as const).map((leg) => ({
    name: `${name}-${leg}`,
    about: `${about}, between gateway and ${leg === 'client' ? 'clients' : 'database'}`,
    breaks: ['gateway'] as const,
    lasts,
    async strike({ gateway, random, holdMs }: Strike) {
      const proxy = proxyOf(gateway, leg);
      await until(() => proxy.connections > 0, { what: `connections of ${gateway.name} to break` });
      const told = fault(proxy, random);
      try {
        await delay(holdMs);
      } finally {
        proxy.heal();
      }
      await whole(gateway);
      return [gateway.name, told].filter(Boolean).join(', ');
    },
  }));
}

export const networkNemeses: readonly Nemesis[] = [
  ...onBoth('half-open', 'one direction, or both, vanishes and nothing is closed', [2_000, 9_000], (proxy, random) => {
    const direction = random.pick(DIRECTIONS);
    proxy.swallow(direction);
    return direction;
  }),
  ...onBoth('stalled', 'one direction, or both, is not read for a while', [1_000, 5_000], (proxy, random) => {
    const direction = random.pick(DIRECTIONS);
    proxy.hold(direction);
    return direction;
  }),
  ...onBoth('slow', 'few bytes a second', [2_000, 5_000], (proxy, random) => {
    const bytes = random.int(5_000, 60_000);
    proxy.throttle(bytes);
    return `${bytes} bytes/s`;
  }),
  ...onBoth('delayed', 'all arrives late', [2_000, 5_000], (proxy, random) => {
    const ms = random.int(20, 600);
    proxy.delay(ms);
    return `${ms} ms`;
  }),
  ...onBoth('cut', 'each connection is cut in the middle of a frame', [500, 3_000], (proxy, random) => {
    const bytes = random.int(0, 3_000) * 2 + 1;
    const direction = random.chance(0.8) ? 'down' : 'up';
    proxy.cutAfter(bytes, direction);
    return `after ${bytes} bytes ${direction}`;
  }),
  ...onBoth('reset', 'all connections are reset', [0, 0], (proxy) => {
    proxy.reset();
    return '';
  }),
  ...onBoth('refused', 'all connections are reset and new ones refused', [1_000, 4_000], (proxy) => {
    proxy.refuse();
    proxy.reset();
    return '';
  }),
];
