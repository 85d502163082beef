import { type Command, codeOfClose, type Frame, parseFrame } from '../../client/protocol/index.js';
import { HttpRefusal } from '../../client/transport/http.js';
import { RequestLink } from '../../client/transport/request-link.js';
import type { Link, LinkEvents, Rung, TransportName } from '../../client/transport/rung.js';
import type { Connection } from '../../server/connection/connection.js';
import { Refusal } from '../../server/ground/refusal.js';
import type { Clock } from '../../server/ports/clock.js';
import type { Authenticator } from '../../server/ports/principal.js';
import { FakeTransport } from '../support/fakes.js';
import { anybody, openConnection, type World } from './clients.js';

/** Gives tokens that live for a while, and knows which of them are good: the client asks for them, the gateway about them. */
export class FakeIssuer {
  /** Of the tokens that it gives from now on, in milliseconds. */
  lifetime = 3_000;
  mood: 'gives' | 'repeats' | 'fails' | 'hangs' | 'is away' = 'gives';
  /** Connections that went on with a fresh one. */
  refreshed = 0;
  readonly #clock: Clock;
  readonly #expiries: number[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  readonly token = async (): Promise<string> => {
    if (this.mood === 'fails') throw new Error('no token');
    if (this.mood === 'hangs') return new Promise(() => {});
    if (this.mood !== 'repeats' || this.#expiries.length === 0) this.#expiries.push(this.#clock.now() + this.lifetime);
    return String(this.#expiries.length - 1);
  };

  readonly authenticate: Authenticator['authenticate'] = async ({ token }) => {
    if (this.mood === 'is away') throw new Refusal('unavailable'); // nobody tells the gateway either
    const expiresAt = this.#expiries[Number(token)];
    if (expiresAt === undefined) throw new Refusal('unauthorized');
    if (expiresAt <= this.#clock.now()) throw new Refusal('token_expired');
    return { ...(await anybody()), expiresAt };
  };
}

/** One connection at the gateway. What that sends is on its way until the test takes it. */
class Tunnel {
  readonly connection: Connection;
  /** Every command that was said has been answered. */
  asked = false;
  readonly #transport = new FakeTransport();
  #read = 0;

  constructor(world: World, issuer: FakeIssuer) {
    let good = Number.POSITIVE_INFINITY;
    this.connection = openConnection(world, this.#transport, {
      connectTimeout: 600_000,
      async authenticate(credentials) {
        const principal = await issuer.authenticate(credentials);
        good = principal.expiresAt ?? good;
        return principal;
      },
    });
    const send = this.#transport.send.bind(this.#transport);
    this.#transport.send = (frame) => {
      send(frame);
      const sent = parseFrame(this.#transport.sent.at(-1)?.text ?? '');
      if (sent?.type === 'events' && world.clock.now() > good) throw new Error('I5: events after the token expired');
      if (sent?.type === 'refreshed') issuer.refreshed += 1;
    };
  }

  say(command: Command): Promise<void> {
    return this.connection.receive(JSON.stringify(command));
  }

  async ask([connect, ...others]: readonly Command[]): Promise<void> {
    if (connect !== undefined) await this.say(connect);
    await Promise.all(others.map((command) => this.say(command)));
    this.asked = true;
  }

  /** The frames that are on their way, at most so many. */
  take(count = Number.POSITIVE_INFINITY): Frame[] {
    const taken = this.#transport.sent.slice(this.#read, this.#read + count);
    this.#read += taken.length;
    return taken.map(({ text }) => parseFrame(text)).filter((frame) => frame !== null);
  }

  get news(): boolean {
    return this.#transport.sent.some(({ text }) => !/^{"type":"(connected|subscribed)"/.test(text));
  }

  /** How the gateway ended it, when everything before that was taken. */
  get ending(): { code: number; reason: string } | null {
    return this.#read === this.#transport.sent.length ? this.#transport.closed : null;
  }
}

/** What the way lets through: all, nothing at all, or what is answered at once but nothing that comes later. */
export type Mood = 'open' | 'refuses' | 'hangs' | 'buffers';

interface Way {
  readonly closed: boolean;
  arrive(count: number): void;
  /** 1006 breaks it; any other code is that of a gateway that ends it. */
  cut(code: number): void;
}

class Socket implements Link, Way {
  readonly #events: LinkEvents;
  readonly #tunnel: Tunnel;
  closed = false;

  constructor(events: LinkEvents, tunnel: Tunnel) {
    this.#events = events;
    this.#tunnel = tunnel;
  }

  send(command: Command): void {
    if (this.closed) throw new Error(`sent on a closed link: ${JSON.stringify(command)}`);
    void this.#tunnel.say(command);
  }

  close(): void {
    this.closed = true;
    this.#tunnel.connection.gone();
  }

  arrive(count: number): void {
    for (let left = count; left > 0 && !this.closed; left -= 1) {
      for (const frame of this.#tunnel.take(1)) this.#events.onFrame(frame);
    }
    const { ending } = this.#tunnel;
    if (ending !== null && !this.closed) this.#end(ending.code);
  }

  cut(code: number): void {
    if (code === 1006) this.#end(code);
    else this.#tunnel.connection.close(codeOfClose(code) ?? 'internal');
  }

  #end(code: number): void {
    this.close();
    this.#events.onClose(code, '');
  }
}

/** The real link of event streams, or of polls; each request is a tunnel. */
class Asked implements Link, Way {
  readonly #link: RequestLink;
  #request: { tunnel: Tunnel; arrive(count: number): void; cut(reason: Error): void } | null = null;
  closed = false;

  constructor(events: LinkEvents, ways: Ways, makeTunnel: () => Tunnel) {
    const onClose: LinkEvents['onClose'] = (...ending) => {
      this.closed = true;
      events.onClose(...ending);
    };
    this.#link = new RequestLink({ ...events, onClose }, ({ commands, urgent, signal, onValue, onComment }) => {
      if (ways.mood === 'refuses') return Promise.reject(new TypeError('fetch failed'));
      const tunnel = makeTunnel();
      void tunnel.ask(commands);
      return new Promise((resolve, cut) => {
        signal.addEventListener('abort', () => {
          tunnel.connection.gone();
          cut(signal.reason);
        });
        const error = ({ code, reason }: { code: number; reason: string }): Frame => {
          return { type: 'error', code: codeOfClose(code) ?? 'internal', message: reason };
        };
        const stream = (count: number) => {
          for (const frame of tunnel.take(count)) onValue(frame);
          if (ways.mood === 'open') onComment();
          if (tunnel.ending === null) return;
          onValue(error(tunnel.ending));
          resolve(false);
        };
        const poll = () => {
          const ended = tunnel.connection.closed;
          if (!ended && (!tunnel.asked || !(urgent || tunnel.news))) return;
          const frames = tunnel.take();
          if (tunnel.ending !== null) return cut(new HttpRefusal(401, error(tunnel.ending)));
          tunnel.connection.gone();
          for (const frame of frames) onValue(frame);
          resolve(true);
        };
        this.#request = { tunnel, cut, arrive: ways.mayBuffer ? stream : poll };
      });
    });
  }

  send(command: Command): void {
    if (this.closed) throw new Error(`sent on a closed link: ${JSON.stringify(command)}`);
    this.#link.send(command);
  }

  close(): void {
    this.closed = true;
    this.#link.close();
  }

  arrive(count: number): void {
    this.#request?.arrive(count);
  }

  cut(code: number): void {
    if (code === 1006) this.#request?.cut(new TypeError('terminated'));
    else this.#request?.tunnel.connection.close(codeOfClose(code) ?? 'internal');
  }
}

/** One rung to a gateway without its edges: frames arrive when the test says so. */
export class Ways implements Rung {
  readonly name: TransportName;
  readonly mayBuffer: boolean;
  readonly ways: Way[] = [];
  readonly #makeTunnel: () => Tunnel;
  mood: Mood = 'open';

  constructor(name: TransportName, world: World, issuer: FakeIssuer) {
    this.name = name;
    this.mayBuffer = name === 'sse';
    this.#makeTunnel = () => new Tunnel(world, issuer);
  }

  get standing(): Way[] {
    return this.ways.filter(({ closed }) => !closed);
  }

  open(events: LinkEvents): Link {
    const way = this.name === 'websocket' ? this.#socket(events) : new Asked(events, this, this.#makeTunnel);
    this.ways.push(way);
    return way;
  }

  arrive(count: number): void {
    if (this.mood === 'hangs' || this.mood === 'refuses') return;
    for (const way of this.standing) way.arrive(count);
  }

  #socket(events: LinkEvents): Socket {
    const socket = new Socket(events, this.#makeTunnel());
    queueMicrotask(() => {
      if (socket.closed || this.mood === 'hangs') return;
      if (this.mood === 'refuses') socket.cut(1006);
      else events.onOpen();
    });
    return socket;
  }
}
