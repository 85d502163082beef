import { expect } from '@jest/globals';
import { type Frame, parseFrame, parsePosition } from '../../client/protocol/index.js';
import { Access } from '../../server/access/access.js';
import { Connection } from '../../server/connection/connection.js';
import type { PrincipalLimits } from '../../server/connection/subscriptions.js';
import { Hub } from '../../server/hub/hub.js';
import type { PageLimits } from '../../server/hub/page.js';
import type { AccessQuestion, Authenticator, Principal } from '../../server/ports/principal.js';
import { FakeLog, type LoggedRow } from '../support/fake-log.js';
import { FakeClock, FakeTransport, settle, silent } from '../support/fakes.js';

const LIMITS: PageLimits = { rows: 4, bytes: 300 };
export const CONNECT_TIMEOUT = 1_000;
const MAX_FRAME = 1_000;

/** How long a connection is kept for a fresh token, in milliseconds. */
export const REFRESH_TIMEOUT = 30_000;

/** The gateway without its edges: a hub over a fake log, and a tail that reads when the test says so. */
export class World {
  readonly clock = new FakeClock();
  /** Channels that nobody may read. */
  readonly #denied = new Set<string>();
  /** Whom a policy refuses besides. */
  refuses: (question: AccessQuestion) => boolean = () => false;
  /** Time stands still for it: it decides anew when it hears of a change. */
  readonly access = new Access({
    authorizer: { mayRead: async (question) => !this.#denied.has(question.channel) && !this.refuses(question) },
    clock: new FakeClock(),
    interval: 60_000,
  });
  readonly log: FakeLog;
  readonly hub: Hub;
  readonly #channels = new Set<string>();

  constructor({ prompt = true, limits = LIMITS, cacheBytes = 2_000, linger = 0 } = {}) {
    this.log = new FakeLog(limits, prompt);
    const { clock, log } = this;
    this.hub = new Hub({ feed: log, pages: log, clock, logger: silent, limits, cacheBytes, linger });
  }

  create(channel: string, rows: number): void {
    this.#channels.add(channel);
    this.log.create(channel, rows);
  }

  readTail(carry?: number): void {
    for (const channel of this.#channels) {
      const movement = this.log.movement(channel, carry);
      if (movement !== null && this.log.followed.has(channel)) this.hub.moved(movement);
    }
    const renumbered = [...this.#channels].filter((channel) => this.log.renumbered(channel));
    if (renumbered.length > 0) this.hub.recheckAll();
  }

  deny(channel: string): void {
    this.#denied.add(channel);
    this.access.changed(null);
  }

  allow(channel: string): void {
    this.#denied.delete(channel);
    this.access.changed(null);
  }

  write(channel: string, count: number): void {
    this.log.write(channel, count);
    this.readTail();
  }
}

interface ConnectionSettings {
  readonly maxSubscriptions?: number;
  readonly authenticate?: Authenticator['authenticate'];
  /** In milliseconds. */
  readonly connectTimeout?: number;
  readonly principalLimits?: PrincipalLimits;
}

export interface ClientOptions extends ConnectionSettings {
  readonly bufferBytes?: number;
}

export const anybody = async (): Promise<Principal> => ({
  subject: 'anybody',
  role: 'authenticated',
  claims: '{"sub":"anybody"}',
  expiresAt: null,
});

/** A connection to the gateway of this world, opened and not yet introduced. */
export function openConnection(
  { hub, access, clock }: World,
  transport: FakeTransport,
  {
    maxSubscriptions = 100,
    authenticate = anybody,
    connectTimeout = CONNECT_TIMEOUT,
    ...limits
  }: ConnectionSettings = {},
): Connection {
  const connection = new Connection({
    id: 'session',
    transport,
    hub,
    access,
    authenticator: { authenticate },
    clock,
    logger: silent,
    limits: { maxFrameBytes: MAX_FRAME, maxSubscriptions },
    heartbeat: 25_000,
    connectTimeout,
    refreshTimeout: REFRESH_TIMEOUT,
    ...limits,
  });
  transport.onDrained = () => connection.drained();
  return connection;
}

/** The client's end: it holds every frame against the protocol, in the order in which it was sent. */
export class Client {
  readonly world: World;
  readonly transport: FakeTransport;
  readonly connection: Connection;
  /** Where the client stands in the channels that it is subscribed to. */
  readonly places = new Map<string, { epoch: string; seq: number }>();
  /** Commands that were not answered yet, with their `since`. */
  readonly asked = new Map<number, { type: string; since?: string }>();
  #lastId = 0;
  #read = 0;

  constructor(world: World, { bufferBytes, ...settings }: ClientOptions = {}) {
    this.world = world;
    this.transport = new FakeTransport(bufferBytes);
    this.connection = openConnection(world, this.transport, settings);
  }

  say(command: { type: string; since?: string; [field: string]: unknown }): number {
    this.#lastId += 1;
    this.asked.set(this.#lastId, command);
    void this.connection.receive(JSON.stringify({ ...command, id: this.#lastId }));
    return this.#lastId;
  }

  async connect(): Promise<this> {
    this.say({ type: 'connect', protocol: 1, token: 'token' });
    await settle();
    expect(this.frames()).toMatchObject([{ type: 'connected' }]);
    return this;
  }

  /** The frames that came since this was called last. */
  frames(): Frame[] {
    const fresh = this.transport.sent.slice(this.#read);
    this.#read += fresh.length;
    return fresh.map(({ text, writable }) => {
      const frame = parseFrame(text);
      if (frame === null) throw new Error(`no frame: ${text}`);
      this.#check(frame, writable);
      return frame;
    });
  }

  #check(frame: Frame, writable: boolean): void {
    switch (frame.type) {
      case 'events': {
        const place = this.places.get(frame.channel);
        if (place === undefined) throw new Error(`I4: events of ${frame.channel}, which is not subscribed`);
        if (!writable) throw new Error('I6: events for a transport that takes none');
        expect([frame.from, frame.events.length > 0]).toEqual([place.seq + 1, true]);
        for (const row of frame.events as unknown as LoggedRow[]) {
          place.seq += 1;
          if (row.epoch !== place.epoch || row.seq !== place.seq) {
            throw new Error(`${row.epoch}.${row.seq} came as ${place.epoch}.${place.seq}`);
          }
        }
        return;
      }
      case 'reset': {
        const place = this.places.get(frame.channel);
        const position = parsePosition(frame.position);
        if (place === undefined || position === null) throw new Error(`an untimely reset: ${JSON.stringify(frame)}`);
        if (frame.reason === 'epoch') expect(position.epoch).not.toBe(place.epoch);
        else expect(position.epoch).toBe(place.epoch);
        if (frame.reason === 'pruned') expect(position.seq).toBeGreaterThan(place.seq);
        if (frame.reason === 'ahead') expect(position.seq).toBeLessThan(place.seq);
        this.places.set(frame.channel, { ...position });
        return;
      }
      case 'subscribed': {
        const { epoch, floor, head } = frame;
        const { type, since = 'now' } = this.#answered(frame.id);
        expect([type, this.places.has(frame.channel)]).toEqual(['subscribe', false]);
        const newest = Math.max(floor - 1, head + Number(since));
        const seq = since === 'now' ? head : since === 'start' ? floor - 1 : Number(since) < 0 ? newest : Number(since);
        this.places.set(frame.channel, { ...(parsePosition(since) ?? { epoch, seq }) });
        return;
      }
      case 'unsubscribed':
        // With the id of a subscribe: that one was taken back before it began. A later one goes on.
        if (frame.id !== undefined && this.#answered(frame.id).type === 'subscribe') return;
        this.places.delete(frame.channel);
        return;
      default:
        if ('id' in frame && frame.id !== undefined) this.#answered(frame.id);
    }
  }

  #answered(id: number): { type: string; since?: string } {
    const command = this.asked.get(id);
    if (command === undefined) throw new Error(`${id} was answered twice`);
    this.asked.delete(id);
    return command;
  }
}

/** A world with one channel of ten rows, of which the first three were pruned, and a client. */
export async function meet(options: ClientOptions = {}): Promise<{ world: World; client: Client }> {
  const world = new World();
  world.create('message:a', 10);
  world.log.prune('message:a', 4);
  return { world, client: await new Client(world, options).connect() };
}

/** Sends a command; what came until it was answered. */
export async function ask(client: Client, command: { type: string; [field: string]: unknown }): Promise<Frame[]> {
  client.say(command);
  await settle();
  await settle();
  return client.frames();
}
