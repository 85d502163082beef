import cluster, { type Worker } from 'node:cluster';
import type { EventEmitter } from 'node:events';
import type { ForwardedCommands, ForwardResult, Peers } from '../ports/door.js';

/** How long to wait for the result from another process, which may hang or exit, in milliseconds. */
const RESULT_TIMEOUT = 2_000;

type Message =
  | { readonly type: 'forward'; readonly id: number; readonly forwarded: ForwardedCommands }
  | { readonly type: 'result'; readonly id: number; readonly result: ForwardResult };

/** One end of the IPC channel between a worker and its primary. Commands go both ways, and each message gets a result. */
class ForwardingChannel {
  readonly #send: (message: Message) => void;
  readonly #waiting = new Map<number, (result: ForwardResult) => void>();
  #lastId = 0;

  constructor(
    other: Pick<EventEmitter, 'on'>,
    send: (message: Message) => void,
    receive: (forwarded: ForwardedCommands) => ForwardResult | Promise<ForwardResult>,
  ) {
    this.#send = send;
    other.on('message', async (message: Message) => {
      const { type, id } = message;
      if (type === 'result') this.#waiting.get(id)?.(message.result);
      if (type === 'forward') send({ type: 'result', id, result: await receive(message.forwarded) });
    });
  }

  forward(forwarded: ForwardedCommands): Promise<ForwardResult> {
    this.#lastId += 1;
    const id = this.#lastId;
    return new Promise<ForwardResult>((resolve) => {
      const late = setTimeout(resolve, RESULT_TIMEOUT, 'not_here');
      this.#waiting.set(id, (result) => {
        clearTimeout(late);
        resolve(result);
      });
      this.#send({ type: 'forward', id, forwarded });
    }).finally(() => this.#waiting.delete(id));
  }
}

const channels = new Map<Worker, ForwardingChannel>();

/** In the primary: forwards the commands of this worker to all others, of which at most one accepts them. */
export function forwardBetweenWorkers(worker: Worker): void {
  const send = (message: Message) => void (worker.isConnected() && worker.send(message, () => {}));
  const channel = new ForwardingChannel(worker, send, (forwarded) => {
    const others = [...channels].filter(([other]) => other !== worker);
    const results = others.map(async ([, other]) => {
      const result = await other.forward(forwarded);
      if (result === 'not_here') throw new Error('not here');
      return result;
    });
    // The first worker that has the session decides, so that one that hangs does not delay the result.
    return Promise.any(results).catch(() => 'not_here' as const);
  });
  channels.set(worker, channel);
  worker.once('exit', () => channels.delete(worker));
}

/** In a worker: the other workers, reached through the primary. Null in a process without a primary. */
export function otherWorkers(): Peers | null {
  if (!cluster.isWorker) return null;
  let receiveHere = (_forwarded: ForwardedCommands): ForwardResult => 'not_here';
  const channel = new ForwardingChannel(
    process,
    (message) => void (process.connected && process.send?.(message)),
    (forwarded) => receiveHere(forwarded),
  );
  return {
    forward: (forwarded) => channel.forward(forwarded),
    onForwarded: (receive) => {
      receiveHere = receive;
    },
  };
}
