/** Ways down that lead nowhere: clients that have several must find another one, and come back to the best. */
import { setTimeout as delay } from 'node:timers/promises';
import type { FaultProxy } from '../../support/proxy.js';
import { until } from '../../support/until.js';
import type { Status } from '../clients/host.js';
import { ONCE_A_ROUND } from '../schedule.js';
import type { Nemesis, Strike } from './nemesis.js';

/** For the way down and for the way up, in milliseconds. A door that is silent costs two heartbeats and the limit of each try. */
const LONGEST_MOVE = 60_000;
const LOOK = 50;
/** So often the clients are told that the network has changed; a trial that it brings about has time to end. In milliseconds. */
const SIGN_AGAIN = 5_000;

/** Waits until all clients that go up and down are connected by this way, and read on by it. Returns how long the first took, in milliseconds. */
async function allBy(transport: string, { clients }: Strike): Promise<number> {
  const from = performance.now();
  let signed = Number.NEGATIVE_INFINITY;
  let seen: Status['ladders'] = [];
  const look = async () => {
    if (performance.now() - signed > SIGN_AGAIN) {
      signed = performance.now();
      clients.sign();
    }
    await delay(LOOK);
    seen = (await clients.ask()).ladders;
    return seen.length > 0 && seen.every((client) => client.transport === transport);
  };
  const what = `the ladder clients to come to ${transport}`;
  await until(look, { deadlineMs: LONGEST_MOVE, what }).catch((error: Error) => {
    throw new Error(`${error.message}: ${seen.map((client) => client.transport).join(', ')}`);
  });
  const took = Math.round(performance.now() - from);
  const before = seen;
  const reads = async () =>
    (await look()) && seen.every(({ deliveries }, index) => deliveries > (before[index]?.deliveries ?? 0));
  await until(reads, { what: `rows to come to all ladder clients by ${transport}` });
  return took;
}

/** Down to the bottom, one door after the other, and up again. `shut` breaks a door. */
function doors(name: string, about: string, shut: (door: FaultProxy) => void): Nemesis {
  return {
    name,
    about,
    breaks: ['gateways', 'database'],
    lasts: [0, 2_000],
    weight: ONCE_A_ROUND, // for they keep all the others waiting
    async strike(strike) {
      const websockets = strike.world.gateways.map(({ doors }) => doors.websocket);
      const streams = strike.world.gateways.map(({ doors }) => doors.sse);
      const { pace } = strike.world.team;
      pace.even(true); // so that there are rows to read all the time
      try {
        await allBy('websocket', strike);
        for (const door of websockets) shut(door);
        const sse = await allBy('sse', strike);
        for (const door of streams) shut(door);
        const poll = await allBy('poll', strike);
        await delay(strike.holdMs);
        for (const door of [...websockets, ...streams]) door.heal();
        const up = await allBy('websocket', strike);
        return `at SSE after ${sse} ms, at polling after ${poll} ms more, back at WebSocket after ${up} ms`;
      } finally {
        for (const door of [...websockets, ...streams]) door.heal();
        pace.even(false);
      }
    },
  };
}

export const doorNemeses: readonly Nemesis[] = [
  doors('doors-refused', 'WebSocket is cut and refused, then SSE as well, and both come back', (door) => {
    door.refuse();
    door.reset();
  }),
  doors('doors-silent', 'nothing comes through WebSocket, then not through SSE either, and both come back', (door) => {
    door.swallow('both');
  }),
];
