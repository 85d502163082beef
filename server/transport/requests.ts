/**
 * The door for HTTP requests: opens a connection for each event stream and for each poll while it waits, admits and
 * limits them by address, and passes commands from later requests to open event streams by their session. The routes in
 * http/events.ts and the extensions call it.
 */
import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { errors, type Frame } from '@rowcast/client/protocol';
import type { Connection, ConnectionOptions } from '../connection/connection.js';
import type { Metrics } from '../ground/metrics.js';
import { Refusal } from '../ground/refusal.js';
import type { Delivery } from '../limits/delivery.js';
import type { Limiter, Rejection } from '../limits/limiter.js';
import { clientAddress } from '../network/address.js';
import type {
  ConnectRequest,
  Door,
  ForwardedCommands,
  ForwardResult,
  Peers,
  PollAnswer,
  Positions,
  Transport,
} from '../ports/door.js';
import { EventsFrame } from '../ports/events-frame.js';
import { PollTransport } from './poll.js';
import { resumableFormat, SseTransport } from './sse.js';

/** Comments per heartbeat interval. A client tests a connection that was silent for half of an interval. */
const BEATS = 3;

/** The heartbeat of a poll, as a multiple of its `wait`: a client hears nothing before the response. */
const POLL_BEATS = 3;

/** The retry hint for commands to a connection whose send buffer is full, in milliseconds. */
const BUSY_RETRY = 1_000;

export interface RequestDoorOptions {
  readonly sendBufferBytes: number;
  /** Size at which the response of a poll is full. */
  readonly pageBytes: number;
  /** Connections by address. */
  readonly addresses: Limiter;
  readonly trustedProxies: number;
  /** Bounds the responses of polls that wait to be read. */
  readonly delivery: Delivery;
  /** In milliseconds. */
  readonly heartbeat: number;
  readonly connect: (
    id: string,
    transport: Transport,
    request: IncomingMessage,
    options: Pick<ConnectionOptions, 'heartbeat' | 'fresh' | 'waits'>,
  ) => Connection;
  readonly metrics: Metrics;
  /** Null if no other gateway shares the port. */
  readonly peers: Peers | null;
}

export class RequestDoor implements Door {
  readonly #options: RequestDoorOptions;
  readonly #open = new Map<Connection, ServerResponse>();
  readonly #streams = new Set<SseTransport>();
  /** By subject and session name. `claimedAt`: when the connection took the name. */
  readonly #sessions = new Map<string, { readonly connection: Connection; readonly claimedAt: number }>();
  #beat: NodeJS.Timeout | undefined;
  #stopping = false;

  constructor(options: RequestDoorOptions) {
    this.#options = options;
    options.peers?.onForwarded((forwarded) => this.#receive(forwarded));
  }

  /** Starts the heartbeat. */
  start(): void {
    this.#beat = setInterval(() => {
      for (const stream of this.#streams) stream.beat();
    }, this.#options.heartbeat / BEATS);
  }

  get connectionsBy(): { readonly sse: number; readonly poll: number } {
    return { sse: this.#streams.size, poll: this.#open.size - this.#streams.size };
  }

  /** Subscriptions with events that wait until the client reads. */
  get stalled(): number {
    let sum = 0;
    for (const connection of this.#open.keys()) sum += connection.stalled;
    return sum;
  }

  async stream(request: IncomingMessage, response: ServerResponse, connect: ConnectRequest): Promise<void> {
    const { addresses, sendBufferBytes, heartbeat } = this.#options;
    const transport = new SseTransport(response, sendBufferBytes);
    try {
      const address = this.#admit(request, response, (address) => addresses.enter(address));
      const connection = this.#connect(connect, request, response, { transport, heartbeat, address }, () => {
        this.#streams.delete(transport);
        transport.gone();
      });
      this.#streams.add(transport);
      transport.onDrained = () => connection.drained();
      if (connect.format !== undefined) transport.format = connect.format(connection);
      else if (!connect.replies) {
        const named = connect.session !== undefined;
        transport.format = resumableFormat(() => idOf(connection.positions()), connect.commands.length - 1, named);
      }
      if (connect.replies) transport.begin();
      await this.#runCommands(connection, connect);
      // Authentication failed after the stream had begun: the client can only open a new one.
      if (connection.subject === null && transport.begun) return void response.end();
      if (transport.refused === null || transport.begun) return transport.begin();
      connection.gone();
      throw transport.refused;
    } catch (error) {
      const readsStatus = connect.format !== undefined;
      if (!(error instanceof Refusal) || errors[error.code].outcome === 'stop' || readsStatus) throw error;
      rejectWithRetry(response, error);
    }
  }

  async poll(
    request: IncomingMessage,
    response: ServerResponse,
    connect: ConnectRequest,
    wait: number,
  ): Promise<PollAnswer | null> {
    const { addresses, pageBytes, heartbeat, delivery } = this.#options;
    const address = this.#admit(request, response, (address) => addresses.join(address));
    return new Promise((resolve, reject) => {
      const transport = new PollTransport({ bytes: pageBytes, wait, replies: connect.replies }, () => {
        const { frames, writable } = transport;
        const refused = transport.closed ?? (connect.replies ? null : transport.refused);
        const { behind } = connection;
        const positions = connection.positions();
        const reader = connection.subject || address; // clients without a token have one subject
        connection.gone();
        if (refused !== null) return reject(refused);
        const bytes = frames.reduce((sum, frame) => sum + (frame instanceof EventsFrame ? frame.text.length : 0), 0);
        try {
          delivery.refuse(bytes, reader);
        } catch (error) {
          return reject(error);
        }
        delivery.give(response, bytes, reader);
        resolve({ frames, positions, full: !writable || behind });
      });
      const beats = { transport, heartbeat: Math.max(heartbeat, POLL_BEATS * wait), address };
      const connection = this.#connect(connect, request, response, beats, () => {
        transport.gone();
        resolve(null);
      });
      transport.behind = () => connection.behind;
      this.#runCommands(connection, connect).then(() => transport.answered(), reject);
    });
  }

  async command(forwarded: ForwardedCommands): Promise<void> {
    const here = this.#receive(forwarded);
    const result = here === 'not_here' ? await this.#options.peers?.forward(forwarded) : here;
    if (result === 'busy') {
      throw new Refusal('rate_limited', 'the client does not read the connection fast enough', BUSY_RETRY);
    }
    if (result !== 'accepted') throw new Refusal('unknown_session');
  }

  /** Closes every connection with `shutting_down`, and waits up to `timeout` milliseconds until they are closed. */
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

  #receive({ subject, session, commands, claimedAt }: ForwardedCommands): ForwardResult {
    const name = nameOf(subject, session);
    const here = this.#sessions.get(name);
    // A connection on another gateway has taken the name after the one here.
    if (here !== undefined && claimedAt !== undefined && here.claimedAt < claimedAt) this.#sessions.delete(name);
    if (here === undefined || here.connection.closed || claimedAt !== undefined) return 'not_here';
    const { connection } = here;
    // Replies need room in the send buffer. This is the backpressure for clients that send but do not read.
    if (!connection.writable) return 'busy';
    for (const command of commands) void connection.take(command);
    return 'accepted';
  }

  #admit(request: IncomingMessage, response: ServerResponse, enter: (address: string) => Rejection | null): string {
    if (this.#stopping) throw new Refusal('shutting_down');
    const { trustedProxies, metrics } = this.#options;
    const address = clientAddress(request, trustedProxies);
    const rejection = enter(address);
    if (rejection !== null) {
      metrics.turnedAway.inc();
      throw new Refusal(rejection.code, undefined, rejection.retryAfter);
    }
    response.emit('admitted');
    return address;
  }

  #connect(
    { session = randomUUID(), fresh = false, replies }: ConnectRequest,
    request: IncomingMessage,
    response: ServerResponse,
    { transport, heartbeat, address }: { transport: Transport; heartbeat: number; address: string },
    gone: () => void,
  ): Connection {
    const connection = this.#options.connect(session, transport, request, { heartbeat, fresh, waits: !replies });
    this.#open.set(connection, response);
    // One listener for everything: each would take memory as long as the stream is open.
    response.once('close', () => {
      this.#options.addresses.leave(address);
      this.#open.delete(connection);
      connection.gone();
      const name = nameOf(connection.subject ?? '', connection.id);
      if (this.#sessions.get(name)?.connection === connection) this.#sessions.delete(name);
      gone();
    });
    return connection;
  }

  /** Resolves when every command has its reply. If `connect` is refused the others are dropped: each would only get `not_connected`. */
  async #runCommands(
    connection: Connection,
    { commands: [connect, ...others], session }: ConnectRequest,
  ): Promise<void> {
    await connection.take(connect);
    const { subject, id } = connection;
    if (subject === null) return;
    // The monotonic clock of the machine, which all processes on the port share.
    const claimedAt = Number(process.hrtime.bigint()) / 1e6;
    this.#claim(connection, nameOf(subject, id), claimedAt);
    if (session !== undefined) void this.#options.peers?.forward({ subject, session, commands: [], claimedAt });
    await Promise.all(others.map((command) => connection.take(command)));
  }

  /** Assigns a name to a connection. A client that reconnects takes it over from its old connection, which may not be known to be dead yet. */
  #claim(connection: Connection, name: string, claimedAt: number): void {
    if (this.#open.has(connection)) this.#sessions.set(name, { connection, claimedAt });
  }
}

function nameOf(subject: string, session: string): string {
  return JSON.stringify([subject, session]);
}

/** Encodes the positions of all channels for an `id`, which browsers return in `Last-Event-ID`: ASCII without spaces. */
export function idOf(positions: Positions): string {
  return positions.map(([channel, since]) => `${encodeURIComponent(channel)}=${encodeURIComponent(since)}`).join('&');
}

/** Sends a refusal as a short stream with a retry hint, because an `EventSource` reconnects after a stream but not after an HTTP error. */
function rejectWithRetry(response: ServerResponse, { code, message, retryAfter }: Refusal): void {
  const transport = new SseTransport(response, 0);
  transport.begin(retryAfter || undefined);
  const frame: Frame = { type: 'error', code, message, ...(retryAfter > 0 && { retryAfter: Math.ceil(retryAfter) }) };
  transport.send(frame);
  response.end();
  transport.gone();
}
