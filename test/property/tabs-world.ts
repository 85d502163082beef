import { expect } from '@jest/globals';
import { type Frame, type Position, parseFrame, parsePosition, type Reply } from '../../client/protocol/index.js';
import type { Connection, ConnectionEvents, Request, SessionState } from '../../client/session/connection.js';
import type { Follower } from '../../client/tabs/follower.js';
import { TabGateway } from '../../client/tabs/tab-gateway.js';
import type { Connection as GatewayConnection } from '../../server/connection/connection.js';
import type { LoggedRow } from '../support/fake-log.js';
import { FakeTransport, settle } from '../support/fakes.js';
import { openConnection, type World } from './clients.js';

/** What the gateway may have sent without it having arrived, in bytes. */
const BUFFER = 500;

/** The leading tab's connection to a real `Connection`; nothing moves on it, in either direction, before the test says so. */
export class SlowConnection implements Connection {
  readonly transport = null;
  readonly heardAt = null;
  readonly roundTrip = null;
  readonly retryAt = null;
  readonly world: World;
  readonly events: ConnectionEvents;
  state: SessionState = 'waiting';
  connection: GatewayConnection | null = null;
  up: string[] = [];
  #pipe = new FakeTransport(BUFFER);
  #read = 0;
  #lastId = 0;
  readonly #replies = new Map<number, (reply: Reply) => void>();

  constructor(world: World, events: ConnectionEvents) {
    this.world = world;
    this.events = events;
  }

  start(): void {}

  reconnect(): void {}

  request(command: Request, onReply: (reply: Reply) => void = () => {}): void {
    if (this.state !== 'connected') throw new Error(`${command.type} without a connection`);
    this.#lastId += 1;
    this.#replies.set(this.#lastId, onReply);
    this.up.push(JSON.stringify({ ...command, id: this.#lastId }));
  }

  close(): void {
    this.drop();
    this.state = 'closed';
  }

  get quiet(): boolean {
    return this.up.length === 0 && this.#read === this.#pipe.sent.length;
  }

  /** A connection is there, at once; if there was one, this one takes over. */
  async connect(): Promise<void> {
    this.#forget();
    this.#pipe = new FakeTransport(BUFFER);
    const connection = openConnection(this.world, this.#pipe);
    this.connection = connection;
    await connection.receive('{"type":"connect","id":0,"protocol":1,"token":"t"}');
    await settle();
    this.#read = 1;
    this.#enter('connected');
  }

  drop(): void {
    this.#forget();
    if (this.state === 'connected') this.#enter('waiting');
  }

  /** The oldest command reaches the gateway. */
  deliver(): void {
    const text = this.up.shift();
    if (text !== undefined) void this.connection?.receive(text);
  }

  /** The oldest frame reaches the tab. */
  arrive(): void {
    const sent = this.#pipe.sent[this.#read];
    if (sent === undefined) return;
    this.#read += 1;
    this.#pipe.drain(sent.bytes);
    const frame = parseFrame(sent.text);
    if (frame === null) throw new Error(`no frame: ${sent.text}`);
    if (!('id' in frame) || frame.id === undefined) return this.events.onFrame(frame);
    const onReply = this.#replies.get(frame.id);
    this.#replies.delete(frame.id);
    onReply?.(frame as Reply);
  }

  #enter(state: SessionState): void {
    this.state = state;
    this.events.onState(state);
  }

  #forget(): void {
    this.connection?.gone();
    this.connection = null;
    this.up = [];
    this.#replies.clear();
    this.#read = this.#pipe.sent.length;
  }
}

/** Frames that a tab has not acknowledged, after which it takes no more events. */
const WINDOW = 3;

/** A tab: it holds every frame against the protocol, in the order in which it was sent (I1, I2, I3, I4). */
export class FakeTab {
  follower: Follower;
  /** Where it stands in the channels that it is subscribed to, and where it stood in those that it was thrown out of. */
  readonly places = new Map<string, Position>();
  readonly left = new Map<string, Position>();
  readonly asked = new Map<number, { type: string; since?: string }>();
  unread = 0;
  #lastId = 0;

  constructor(tabGateway: TabGateway) {
    const tab = this;
    this.follower = tabGateway.open({
      get writable() {
        return tab.unread < WINDOW;
      },
      send: (frame) => this.#receive(frame),
    });
    this.say({ type: 'connect', protocol: 1 });
    expect(this.asked.size).toBe(0);
  }

  say(request: Request): void {
    this.#lastId += 1;
    this.asked.set(this.#lastId, request);
    this.follower.receive({ ...request, id: this.#lastId });
  }

  /** Goes on where it stood. */
  resume(): void {
    for (const [channel, { epoch, seq }] of [...this.left]) {
      this.left.delete(channel);
      this.say({ type: 'subscribe', channel, since: `${epoch}.${seq}` });
    }
  }

  read(): void {
    const stood = this.unread >= WINDOW;
    this.unread = 0;
    if (stood) this.follower.drained();
  }

  #receive(frame: Frame): void {
    if (frame.type === 'events') return this.#take(frame.channel, frame.from, frame.events as unknown as LoggedRow[]);
    if (frame.type === 'reset') {
      const place = this.places.get(frame.channel);
      const position = parsePosition(frame.position);
      if (place === undefined || position === null) throw new Error(`an untimely reset: ${JSON.stringify(frame)}`);
      if (frame.reason === 'epoch') expect(position.epoch).not.toBe(place.epoch);
      else expect(position.epoch).toBe(place.epoch);
      if (frame.reason === 'pruned') expect(position.seq).toBeGreaterThan(place.seq);
      if (frame.reason === 'ahead') expect(position.seq).toBeLessThan(place.seq);
      this.places.set(frame.channel, position);
      return;
    }
    if (frame.type === 'subscribed') {
      const { epoch, floor, head, channel } = frame;
      const { type, since = 'now' } = this.#answered(frame.id);
      expect([type, this.places.has(channel)]).toEqual(['subscribe', false]);
      const seq = since === 'now' ? head : since === 'start' ? floor - 1 : Number(since);
      this.places.set(channel, parsePosition(since) ?? { epoch, seq });
      return;
    }
    if (frame.type === 'unsubscribed') {
      if (frame.id !== undefined && this.#answered(frame.id).type === 'subscribe') return;
      const place = this.places.get(frame.channel);
      if (frame.id === undefined && place === undefined) throw new Error('thrown out of what it had left');
      if (frame.id === undefined && place !== undefined) this.left.set(frame.channel, place);
      this.places.delete(frame.channel);
      return;
    }
    if ('id' in frame && frame.id !== undefined) this.#answered(frame.id);
  }

  #take(channel: string, from: number, rows: readonly LoggedRow[]): void {
    const place = this.places.get(channel);
    if (place === undefined) throw new Error(`I4: events of ${channel}, which is not subscribed`);
    if (this.unread >= WINDOW) throw new Error('I6: events for a tab that takes none');
    this.unread += 1;
    expect([from, rows.length > 0]).toEqual([place.seq + 1, true]);
    for (const [index, row] of rows.entries()) {
      if (row.epoch !== place.epoch || row.seq !== from + index) {
        throw new Error(`${row.epoch}.${row.seq} came as ${place.epoch}.${from + index}`);
      }
    }
    this.places.set(channel, { epoch: place.epoch, seq: from + rows.length - 1 });
  }

  #answered(id: number): { type: string; since?: string } {
    const command = this.asked.get(id);
    if (command === undefined) throw new Error(`${id} was answered twice`);
    this.asked.delete(id);
    return command;
  }
}

/** A tabGateway over a gateway without its edges. */
export function leadTabs(world: World): { tabGateway: TabGateway; carrier: SlowConnection } {
  let carrier: SlowConnection | undefined;
  const tabGateway = new TabGateway((events) => {
    carrier = new SlowConnection(world, events);
    return carrier;
  });
  if (carrier === undefined) throw new Error('the tabGateway took no carrier');
  return { tabGateway, carrier };
}
