import cluster, { type Worker } from 'node:cluster';
import type { EventEmitter } from 'node:events';
import type { Order, Peers, Taken } from '../ports/door.js';

/** How long one that hangs or ends may leave an order unanswered, in milliseconds. */
const PATIENCE = 2_000;

type Message =
  | { readonly type: 'order'; readonly id: number; readonly order: Order }
  | { readonly type: 'taken'; readonly id: number; readonly taken: Taken };

/** One end of the line between a worker and its primary: orders go both ways, and each is answered. */
class OrderLine {
  readonly #send: (message: Message) => void;
  readonly #waiting = new Map<number, (taken: Taken) => void>();
  #lastId = 0;

  constructor(
    other: Pick<EventEmitter, 'on'>,
    send: (message: Message) => void,
    take: (order: Order) => Taken | Promise<Taken>,
  ) {
    this.#send = send;
    other.on('message', async (message: Message) => {
      if (message.type === 'taken') this.#waiting.get(message.id)?.(message.taken);
      if (message.type === 'order') send({ type: 'taken', id: message.id, taken: await take(message.order) });
    });
  }

  give(order: Order): Promise<Taken> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise<Taken>((resolve) => {
      const late = setTimeout(resolve, PATIENCE, 'elsewhere');
      this.#waiting.set(id, (taken) => {
        clearTimeout(late);
        resolve(taken);
      });
      this.#send({ type: 'order', id, order });
    }).finally(() => this.#waiting.delete(id));
  }
}

const lines = new Map<Worker, OrderLine>();

/** In the primary: offers the orders of this worker to all the others. */
export function passOnOrders(worker: Worker): void {
  const send = (message: Message) => void (worker.isConnected() && worker.send(message, () => {}));
  const line = new OrderLine(worker, send, (order) => {
    const others = [...lines].filter(([other]) => other !== worker);
    const answers = others.map(async ([, other]) => {
      const taken = await other.give(order);
      if (taken === 'elsewhere') throw new Error('not here');
      return taken;
    });
    return Promise.any(answers).catch(() => 'elsewhere' as const); // one that hangs keeps nobody waiting whose session is elsewhere
  });
  lines.set(worker, line);
  worker.once('exit', () => lines.delete(worker));
}

/** In a worker: the others, by way of the primary; null where there is none. */
export function otherWorkers(): Peers | null {
  if (!cluster.isWorker) return null;
  let takeHere = (_order: Order): Taken => 'elsewhere';
  const line = new OrderLine(
    process,
    (message) => void (process.connected && process.send?.(message)),
    (order) => takeHere(order),
  );
  return {
    give: (order) => line.give(order),
    onGiven: (take) => {
      takeHere = take;
    },
  };
}
