/** All clients of a campaign, in a process of their own, which the campaign gives its orders. */
import { setMaxListeners } from 'node:events';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parsePosition } from '../../../client/protocol/index.js';
import { makeRandom, type Random } from '../../support/random.js';
import { DurableReader } from './durable.js';
import { FollowReader } from './follower.js';
import { LibraryReader } from './library.js';
import { Memory } from './memory.js';
import type { ClientPlan, Kind, Order, Ports, Report } from './plan.js';
import { RawReader } from './raw.js';
import { RawPollReader } from './raw-poll.js';
import { RawSseReader } from './raw-sse.js';
import type { Reader } from './reader.js';

const lag = monitorEventLoopDelay({ resolution: 10 });
lag.enable();

/** Nobody listens there. */
const REFUSING_PORT = 1;

interface Client {
  readonly kind: Kind;
  readonly memory: Memory;
  readonly reader: Reader;
}

let clients: Client[] = [];

/** Where the client library listens to a browser. Node has nothing like it. */
const window = new EventTarget();
setMaxListeners(0, window);
Object.assign(globalThis, {
  addEventListener: window.addEventListener.bind(window),
  removeEventListener: window.removeEventListener.bind(window),
});

/** `doors` are for those who go up and down. */
function make(plan: ClientPlan, ports: Ports, doors: Ports, folder: string): Client {
  const { kind } = plan;
  const memory = new Memory(plan, folder);
  const random = makeRandom(plan.seed);
  return { kind, memory, reader: makeReader(kind, memory, ports, doors, random) };
}

function makeReader(kind: Kind, memory: Memory, ports: Ports, doors: Ports, random: Random): Reader {
  switch (kind) {
    case 'raw':
    case 'slow':
      return new RawReader(memory, ports.websocket, random, kind === 'slow');
    case 'raw-sse':
      return new RawSseReader(memory, ports.sse, random);
    case 'raw-poll':
      return new RawPollReader(memory, ports.poll, random);
    case 'durable':
      return new DurableReader(memory, ports.poll, random);
    case 'follower':
      return new FollowReader(memory, ports, random);
    case 'long-poll':
      return new LibraryReader(memory, { ...ports, websocket: [REFUSING_PORT], sse: [REFUSING_PORT] }, random, kind);
    case 'ladder':
      return new LibraryReader(memory, doors, random, kind);
    default:
      return new LibraryReader(memory, ports, random, kind);
  }
}

/** Names of the clients and channels that have not arrived, at most a few of them in full. */
function behind(heads: Readonly<Record<string, string>>): string[] {
  return clients.flatMap(({ memory, reader }) =>
    memory.channels
      .filter((channel) =>
        reader.holds === undefined
          ? !reached(memory.position(channel), heads[channel])
          : !reader.holds(channel, heads[channel] ?? ''),
      )
      .map((channel) => `${memory.name} ${channel} at ${memory.position(channel)} of ${heads[channel]}`),
  );
}

function reached(position: string | undefined, head: string | undefined): boolean {
  if (head === undefined) return true;
  const [at, wanted] = [parsePosition(position ?? ''), parsePosition(head)];
  if (wanted === null || wanted.seq === 0) return true;
  return at !== null && at.epoch === wanted.epoch && at.seq >= wanted.seq;
}

function tell(report: Report): void {
  process.send?.(report);
}

function obey(order: Order): void {
  switch (order.type) {
    case 'start':
      clients = order.clients.map((plan) => make(plan, order.ports, order.doors, order.folder));
      for (const { reader } of clients) reader.start();
      return;
    case 'sign':
      window.dispatchEvent(new Event('online'));
      return;
    case 'finish':
      for (const { memory, reader } of clients) {
        memory.stopCounting();
        reader.finish();
      }
      return;
    case 'ask':
      return tell({
        type: 'status',
        number: order.number,
        deliveries: clients.reduce((sum, { memory }) => sum + memory.deliveries, 0),
        connected: clients.filter(({ reader }) => reader.connected).length,
        behind: behind(order.heads),
        ladders: clients
          .filter(({ kind }) => kind === 'ladder')
          .map(({ reader, memory }) => ({ transport: reader.transport ?? null, deliveries: memory.deliveries })),
        lagMs: lag.percentile(99) / 1e6,
      });
    case 'close':
      for (const { reader } of clients) reader.close();
      tell({ type: 'closed', clients: clients.map(({ memory }) => memory.close()), worstLagMs: lag.max / 1e6 });
      process.disconnect?.();
  }
}

process.on('message', (order) => obey(order as Order));
// Ctrl-C is for the campaign, which tells what is to be done.
process.on('SIGINT', () => {});
// Whoever gives the orders is gone.
process.on('disconnect', () => process.exit(0));
