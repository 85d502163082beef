/** All clients of a campaign, in a process of their own, which the campaign gives its orders. */
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { parsePosition } from '../../../client/protocol/index.js';
import { makeRandom } from '../../support/random.js';
import { LibraryReader } from './library.js';
import { Memory } from './memory.js';
import type { ClientPlan, Order, Report } from './plan.js';
import { RawReader } from './raw.js';
import type { Reader } from './reader.js';

const lag = monitorEventLoopDelay({ resolution: 10 });
lag.enable();

interface Client {
  readonly memory: Memory;
  readonly reader: Reader;
}

let clients: Client[] = [];

function make(plan: ClientPlan, ports: readonly number[], folder: string): Client {
  const memory = new Memory(plan, folder);
  const random = makeRandom(plan.seed);
  const raw = plan.kind === 'raw' || plan.kind === 'slow';
  const reader = raw
    ? new RawReader(memory, ports, random, plan.kind === 'slow')
    : new LibraryReader(memory, ports, random, plan.kind);
  return { memory, reader };
}

/** Names of the clients and channels that have not arrived, at most a few of them in full. */
function behind(heads: Readonly<Record<string, string>>): string[] {
  return clients.flatMap(({ memory }) =>
    memory.channels
      .filter((channel) => !reached(memory.position(channel), heads[channel]))
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
      clients = order.clients.map((plan) => make(plan, order.ports, order.folder));
      for (const { reader } of clients) reader.start();
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
        deliveries: clients.reduce((sum, { memory }) => sum + memory.deliveries, 0),
        connected: clients.filter(({ reader }) => reader.connected).length,
        behind: behind(order.heads),
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
