import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { errors, type Frame } from '@rowcast/client/protocol';
import type { Connection, ConnectionOptions } from '../connection/connection.js';
import type { Metrics } from '../ground/metrics.js';
import { Refusal } from '../ground/refusal.js';
import type { Limiter, Rejection } from '../limits/limiter.js';
import { clientAddress } from '../network/address.js';
import type { Asked, Door, Order, Peers, PollAnswer, Positions, Taken, Transport } from '../ports/door.js';
import { PollTransport } from './poll.js';
import { resumable, SseTransport } from './sse.js';

/** Comments per heartbeat: a client doubts a connection that was silent for half of one. */
const BEATS = 3;

/** A poll is heard when it is answered: its heartbeat is so many times what it waits. */
const POLL_BEATS = 3;

/** When to bring commands again to a connection that is not read, in milliseconds. */
const FULL_RETRY = 1_000;

export interface RequestDoorOptions {
  readonly sendBufferBytes: number;
  /** Size at which the answer to a poll is full. */
  readonly pageBytes: number;
  /** Connections by address. */
  readonly addresses: Limiter;
  readonly trustedProxies: number;
  /** In milliseconds. */
  readonly heartbeat: number;
  readonly connect: (
    id: string,
    transport: Transport,
    request: IncomingMessage,
    options: Pick<ConnectionOptions, 'heartbeat' | 'fresh'>,
  ) => Connection;
  readonly metrics: Metrics;
  readonly peers: Peers | null;
}

/** Takes HTTP requests that are connections: event streams, and polls while they wait. */
export class RequestDoor implements Door {
  readonly #options: RequestDoorOptions;
  readonly #open = new Map<Connection, ServerResponse>();
  readonly #streams = new Set<SseTransport>();
  /** By who is connected, and the name of the session. */
  readonly #sessions = new Map<string, { readonly connection: Connection; readonly named: number }>();
  readonly #beat: NodeJS.Timeout;
  #stopping = false;

  constructor(options: RequestDoorOptions) {
    this.#options = options;
    options.peers?.onGiven((order) => this.#take(order));
    this.#beat = setInterval(() => {
      for (const stream of this.#streams) stream.beat();
    }, options.heartbeat / BEATS);
  }

  get connections(): number {
    return this.#open.size;
  }

  async stream(request: IncomingMessage, response: ServerResponse, asked: Asked): Promise<void> {
    const { addresses, sendBufferBytes, heartbeat } = this.#options;
    const transport = new SseTransport(response, sendBufferBytes);
    try {
      this.#admit(request, response, (address) => addresses.enter(address));
      const connection = this.#connect(asked, request, response, transport, heartbeat);
      transport.onDrained = () => connection.drained();
      if (asked.format !== undefined) transport.format = asked.format(connection);
      else if (!asked.replies) {
        const named = asked.session !== undefined;
        transport.format = resumable(() => idOf(connection.positions()), asked.commands.length - 1, named);
      }
      this.#streams.add(transport);
      response.once('close', () => this.#streams.delete(transport));
      if (asked.replies) transport.begin();
      await this.#ask(connection, asked);
      // Nobody can say who it is on this stream any more.
      if (connection.subject === null && transport.begun) return void response.end();
      if (transport.refused === null || transport.begun) return transport.begin();
      connection.gone();
      throw transport.refused;
    } catch (error) {
      const readsStatus = asked.format !== undefined;
      if (!(error instanceof Refusal) || errors[error.code].outcome === 'stop' || readsStatus) throw error;
      turnAway(response, error);
    }
  }

  async poll(
    request: IncomingMessage,
    response: ServerResponse,
    asked: Asked,
    wait: number,
  ): Promise<PollAnswer | null> {
    const { addresses, pageBytes, heartbeat } = this.#options;
    this.#admit(request, response, (address) => addresses.join(address));
    return new Promise((resolve, reject) => {
      const transport = new PollTransport({ bytes: pageBytes, wait, replies: asked.replies }, () => {
        const { frames, writable } = transport;
        const refused = transport.closed ?? (asked.replies ? null : transport.refused);
        const { behind } = connection;
        const positions = connection.positions();
        connection.gone();
        if (refused === null) resolve({ frames, positions, full: !writable || behind });
        else reject(refused);
      });
      const connection = this.#connect(asked, request, response, transport, Math.max(heartbeat, POLL_BEATS * wait));
      transport.behind = () => connection.behind;
      response.once('close', () => {
        transport.gone();
        resolve(null);
      });
      this.#ask(connection, asked).then(() => transport.asked(), reject);
    });
  }

  async command(order: Order): Promise<void> {
    const here = this.#take(order);
    const taken = here === 'elsewhere' ? await this.#options.peers?.give(order) : here;
    if (taken === 'full') throw new Refusal('rate_limited', 'the connection is not read fast enough', FULL_RETRY);
    if (taken !== 'taken') throw new Refusal('unknown_session');
  }

  /** Tells every client to come back elsewhere, and waits until they are gone, at most `timeout` milliseconds. */
  async stop(timeout: number): Promise<void> {
    this.#stopping = true;
    clearInterval(this.#beat);
    const gone = [...this.#open].map(([connection, response]) => {
      const closed = new Promise<void>((resolve) => response.once('close', () => resolve()));
      connection.close('shutting_down');
      return closed;
    });
    const late = setTimeout(() => {
      for (const { req } of this.#open.values()) req.socket.destroy();
    }, timeout);
    await Promise.all(gone);
    clearTimeout(late);
  }

  #take({ subject, session, commands, named }: Order): Taken {
    const name = nameOf(subject, session);
    const here = this.#sessions.get(name);
    // The name was given elsewhere, and not before it was given here.
    if (here !== undefined && named !== undefined && here.named < named) this.#sessions.delete(name);
    if (here === undefined || here.connection.closed || named !== undefined) return 'elsewhere';
    const { connection } = here;
    // Replies need room, and a client that does not read cannot be read from less than this.
    if (!connection.writable) return 'full';
    for (const command of commands) void connection.take(command);
    return 'taken';
  }

  #admit(request: IncomingMessage, response: ServerResponse, enter: (address: string) => Rejection | null): void {
    if (this.#stopping) throw new Refusal('shutting_down');
    const { addresses, trustedProxies, metrics } = this.#options;
    const address = clientAddress(request, trustedProxies);
    const rejection = enter(address);
    if (rejection !== null) {
      metrics.turnedAway.inc();
      throw new Refusal(rejection.code, undefined, rejection.retryAfter);
    }
    response.once('close', () => addresses.leave(address));
    response.emit('admitted');
  }

  #connect(
    { session = randomUUID(), fresh = false }: Asked,
    request: IncomingMessage,
    response: ServerResponse,
    transport: Transport,
    heartbeat: number,
  ): Connection {
    const connection = this.#options.connect(session, transport, request, { heartbeat, fresh });
    this.#open.set(connection, response);
    response.once('close', () => {
      this.#open.delete(connection);
      connection.gone();
    });
    return connection;
  }

  /** Resolves when every command has been answered, or the first was refused: the others would only hear that they come too early. */
  async #ask(connection: Connection, { commands: [connect, ...others], session }: Asked): Promise<void> {
    await connection.take(connect);
    const { subject, id } = connection;
    if (subject === null) return;
    // Of the machine: its processes agree on it.
    const named = Number(process.hrtime.bigint()) / 1e6;
    this.#name(connection, nameOf(subject, id), named);
    if (session !== undefined) void this.#options.peers?.give({ subject, session, commands: [], named });
    await Promise.all(others.map((command) => connection.take(command)));
  }

  /** Who comes back while its old connection is not yet known to be dead takes over the name. */
  #name(connection: Connection, name: string, named: number): void {
    this.#sessions.set(name, { connection, named });
    this.#open.get(connection)?.once('close', () => {
      if (this.#sessions.get(name)?.connection === connection) this.#sessions.delete(name);
    });
  }
}

function nameOf(subject: string, session: string): string {
  return JSON.stringify([subject, session]);
}

/** The positions of all channels, as they stand in an `id` and come back in `Last-Event-ID`: ASCII, without a space. */
export function idOf(positions: Positions): string {
  return positions.map(([channel, since]) => `${encodeURIComponent(channel)}=${encodeURIComponent(since)}`).join('&');
}

/** An `EventSource` comes back after a stream that ended, and after no other answer. */
function turnAway(response: ServerResponse, { code, message, retryAfter }: Refusal): void {
  const transport = new SseTransport(response, 0);
  transport.begin(retryAfter || undefined);
  const frame: Frame = { type: 'error', code, message, ...(retryAfter > 0 && { retryAfter: Math.ceil(retryAfter) }) };
  transport.send(frame);
  response.end();
}
