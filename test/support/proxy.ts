import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** `up` is the direction from the client to the target. */
export type Direction = 'up' | 'down';
export type Directions = Direction | 'both';
export type Target = number | { readonly port: number; readonly host?: string };

/** Faults add up until `heal()`. They hold for the connections that exist and for new ones. */
export interface FaultProxy {
  readonly port: number;
  /** How many connections are open on either side. */
  readonly connections: number;
  /** The same address by way of the proxy, whatever the scheme: `postgres://`, `http://`, `ws://`. */
  via(url: string): string;
  /** Where new connections go. */
  retarget(target: Target): void;
  /** Half-open: what goes in this direction is read and vanishes, FIN and RST included. Nothing is closed. */
  swallow(direction: Directions): void;
  /** A stalled peer: nothing more is read from this direction, so that the buffers of the sender fill. Nothing is lost. */
  hold(direction: Directions): void;
  /** For each connection and direction. */
  throttle(bytesPerSecond: number): void;
  /** What is sent arrives so many milliseconds later, in its order. */
  delay(ms: number): void;
  /** Each connection is reset after so many further bytes of this direction, which still arrive. */
  cutAfter(bytes: number, direction: Direction): void;
  /** New connections are reset. */
  refuse(): void;
  /** Resets all connections, at both ends. */
  reset(): void;
  /** Back to normal. A connection that has lost something is reset, since its stream is broken. */
  heal(): void;
  close(): Promise<void>;
}

const QUEUE_BYTES = 256 * 1024;
const THROTTLE_STEP_MS = 20;

interface Faults {
  swallow: boolean;
  hold: boolean;
  cut: number;
}

interface Path {
  bytesPerSecond: number;
  delay: number;
  refuse: boolean;
  readonly up: Faults;
  readonly down: Faults;
}

const sound = (): Faults => ({ swallow: false, hold: false, cut: Number.POSITIVE_INFINITY });

/** One direction of one connection. */
class Lane {
  lost = false;
  left: number;
  readonly #queue: { chunk: Buffer | 'end'; due: number }[] = [];
  readonly #source: Socket;
  readonly #sink: Socket;
  readonly #faults: Faults;
  readonly #path: Path;
  readonly #reset: () => void;
  #queued = 0;
  #busy = false;

  constructor(source: Socket, sink: Socket, faults: Faults, path: Path, reset: () => void) {
    [this.#source, this.#sink, this.#faults, this.#path, this.#reset] = [source, sink, faults, path, reset];
    this.left = faults.cut;
    source.on('data', (chunk) => this.#take(chunk));
    source.on('end', () => this.#take('end'));
    source.on('error', () => this.#broken());
    this.flow();
  }

  flow(): void {
    if (this.#faults.hold || this.#queued >= QUEUE_BYTES) this.#source.pause();
    else this.#source.resume();
  }

  #take(chunk: Buffer | 'end'): void {
    if (this.#faults.swallow) {
      this.lost = true;
      return;
    }
    this.#queue.push({ chunk, due: performance.now() + this.#path.delay });
    this.#queued += chunk.length;
    this.flow();
    if (!this.#busy) void this.#carry();
  }

  #broken(): void {
    if (this.#faults.swallow) this.lost = true;
    else this.#reset();
  }

  async #carry(): Promise<void> {
    this.#busy = true;
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      const wait = next.due - performance.now();
      if (wait > 0) await sleep(wait);
      if (next.chunk === 'end') this.#sink.end();
      else await this.#write(next.chunk);
      this.#queued -= next.chunk.length;
      if (!this.#source.destroyed) this.flow();
    }
    this.#busy = false;
  }

  async #write(chunk: Buffer): Promise<void> {
    for (let at = 0; at < chunk.length && this.#sink.writable; ) {
      const step = Math.ceil((this.#path.bytesPerSecond * THROTTLE_STEP_MS) / 1000);
      const part = chunk.subarray(at, at + Math.min(step, this.left));
      at += part.length;
      this.left -= part.length;
      await new Promise<void>((resolve) => {
        this.#sink.once('close', resolve);
        this.#sink.write(part, () => {
          this.#sink.off('close', resolve);
          resolve();
        });
      });
      if (this.left <= 0) return this.#reset();
      if (Number.isFinite(step)) await sleep(THROTTLE_STEP_MS);
    }
  }
}

interface Connection {
  readonly up: Lane;
  readonly down: Lane;
  reset(): void;
}

/** A TCP proxy in front of `target` that does to the connections whatever a bad network does. */
export async function startProxy(target: Target): Promise<FaultProxy> {
  const path: Path = { bytesPerSecond: Infinity, delay: 0, refuse: false, up: sound(), down: sound() };
  const connections = new Set<Connection>();
  let to = address(target);

  const server = createServer({ allowHalfOpen: true, noDelay: true }, (near) => {
    near.on('error', () => {});
    if (path.refuse) {
      sendReset(near);
      return;
    }
    const far = connect({ ...to, allowHalfOpen: true, noDelay: true });
    const reset = () => {
      sendReset(near);
      sendReset(far);
    };
    const up = new Lane(near, far, path.up, path, reset);
    const down = new Lane(far, near, path.down, path, reset);
    const connection = { up, down, reset };
    connections.add(connection);
    for (const socket of [near, far]) {
      socket.on('close', () => near.destroyed && far.destroyed && connections.delete(connection));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const own = (server.address() as AddressInfo).port;
  const faultsOf = (direction: Directions) => (direction === 'both' ? [path.up, path.down] : [path[direction]]);
  const flow = () => {
    for (const { up, down } of connections) for (const lane of [up, down]) lane.flow();
  };
  const reset = () => {
    for (const connection of [...connections]) connection.reset();
  };

  return {
    port: own,
    get connections() {
      return connections.size;
    },
    via(url) {
      return Object.assign(new URL(url), { hostname: '127.0.0.1', port: `${own}` }).href;
    },
    retarget(target) {
      to = address(target);
    },
    swallow(direction) {
      for (const faults of faultsOf(direction)) faults.swallow = true;
    },
    hold(direction) {
      for (const faults of faultsOf(direction)) faults.hold = true;
      flow();
    },
    throttle(bytesPerSecond) {
      path.bytesPerSecond = bytesPerSecond;
    },
    delay(ms) {
      path.delay = ms;
    },
    cutAfter(bytes, direction) {
      path[direction].cut = bytes;
      for (const connection of connections) connection[direction].left = bytes;
    },
    refuse() {
      path.refuse = true;
    },
    reset,
    heal() {
      Object.assign(path, { bytesPerSecond: Infinity, delay: 0, refuse: false });
      for (const faults of [path.up, path.down]) Object.assign(faults, sound());
      for (const connection of [...connections]) {
        connection.up.left = connection.down.left = Infinity;
        if (connection.up.lost || connection.down.lost) connection.reset();
      }
      flow();
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      reset();
      await closed;
    },
  };
}

/** `resetAndDestroy` would send a FIN first, and the other side might take it for an orderly end. */
function sendReset(socket: Socket): void {
  if (!socket.writableEnded && !socket.connecting) Object.assign(socket, { resetAndClosing: true });
  socket.destroy();
}

function address(target: Target): { port: number; host: string } {
  const host = '127.0.0.1';
  return typeof target === 'number' ? { host, port: target } : { host, ...target };
}
