import type { Socket } from 'node:net';
import { addressOf } from '../network/address.js';

/** Maximum number of connections that are not admitted as clients. */
const MAX_PLAIN = 2_048;

/**
 * The connections on which nothing is asked, or whose request has not arrived completely. Beyond the bound the oldest is
 * closed: of the address that has more than half of them, or else of all. A connection on which a request is being answered stays: the
 * request may have taken effect, and its client would not know.
 */
export class PlainSockets {
  readonly #isAnswering: (socket: Socket) => boolean;
  /** The oldest first. */
  readonly #all = new Map<Socket, string>();
  readonly #ofAddress = new Map<string, Set<Socket>>();

  constructor(isAnswering: (socket: Socket) => boolean) {
    this.#isAnswering = isAnswering;
  }

  add(socket: Socket): void {
    const address = this.#all.get(socket) ?? addressOf(socket);
    this.delete(socket);
    const own = this.#ofAddress.get(address) ?? new Set();
    this.#all.set(socket, address);
    this.#ofAddress.set(address, own.add(socket));
    if (this.#all.size > MAX_PLAIN) this.#closeOldest(2 * own.size > MAX_PLAIN ? own : this.#all.keys());
  }

  delete(socket: Socket): void {
    const address = this.#all.get(socket);
    if (address === undefined) return;
    this.#all.delete(socket);
    const own = this.#ofAddress.get(address);
    own?.delete(socket);
    if (own?.size === 0) this.#ofAddress.delete(address);
  }

  get sockets(): Iterable<Socket> {
    return this.#all.keys();
  }

  #closeOldest(sockets: Iterable<Socket>): void {
    for (const socket of sockets) {
      // Answered connections are added again, as the newest.
      const answering = this.#isAnswering(socket);
      this.delete(socket);
      if (answering) continue;
      socket.destroy();
      return;
    }
  }
}
