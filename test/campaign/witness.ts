import { once } from 'node:events';
import { WebSocket } from 'ws';
import { formatPosition, PROTOCOL, parseFrame } from '../../client/protocol/index.js';
import { until } from '../support/until.js';

/** One client that is connected straight to a gateway, past its proxy, and notes when each row reaches it. */
export class Witness {
  /** By checksum of the row, in milliseconds of `performance.now`. */
  readonly arrivals = new Map<number, number>();
  readonly closed: Promise<unknown>;
  readonly #socket: WebSocket;

  private constructor(socket: WebSocket) {
    this.#socket = socket;
    this.closed = new Promise((resolve) => socket.once('close', resolve));
    socket.on('error', () => {});
  }

  /** Goes on at these positions, and moves them; a channel without one is read from now on. Rejects if it is sent away. */
  static async at(url: string, channels: readonly string[], positions = new Map<string, string>()): Promise<Witness> {
    const socket = new WebSocket(`${url.replace(/^http/, 'ws')}/v1/ws`);
    const witness = new Witness(socket);
    const sentAway = witness.closed.then(() => Promise.reject(new Error('the witness was sent away')));
    sentAway.catch(() => {});
    await Promise.race([once(socket, 'open'), sentAway]);
    const subscribed = witness.#listen(channels, positions);
    socket.send(JSON.stringify({ type: 'connect', id: 0, protocol: PROTOCOL }));
    await Promise.race([subscribed, sentAway]);
    return witness;
  }

  /** As `at`, again and again: a gateway that has just found its database again sends away for a moment. */
  static soon(url: string, channels: readonly string[]): Promise<Witness> {
    return until(() => Witness.at(url, channels).catch(() => null), { what: `a witness at ${url}` });
  }

  close(): void {
    this.#socket.terminate();
  }

  #listen(channels: readonly string[], positions: Map<string, string>): Promise<void> {
    const socket = this.#socket;
    const epochs = new Map<string, string>();
    return new Promise((resolve) => {
      socket.on('message', (data) => {
        const frame = parseFrame(String(data));
        switch (frame?.type) {
          case 'connected':
            for (const [index, channel] of channels.entries()) {
              const since = positions.get(channel) ?? 'now';
              socket.send(JSON.stringify({ type: 'subscribe', id: index + 1, channel, since }));
            }
            return;
          case 'subscribed': {
            const { channel, epoch, head } = frame;
            epochs.set(channel, epoch);
            if (!positions.has(channel)) positions.set(channel, formatPosition({ epoch, seq: head }));
            if (epochs.size === channels.length) resolve();
            return;
          }
          case 'events': {
            const { channel, from, events } = frame;
            for (const row of events) this.arrivals.set(Number(row.checksum), performance.now());
            const seq = from + events.length - 1;
            positions.set(channel, formatPosition({ epoch: epochs.get(channel) ?? '', seq }));
            return;
          }
          case 'error':
            socket.terminate();
        }
      });
    });
  }
}
