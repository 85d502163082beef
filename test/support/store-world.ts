/** A live store over fake gateways on which nothing moves before the test says so, and a page whose frames and clock it drives. */
import type { ClientOptions } from '../../client/client.js';
import type { Fetch } from '../../client/ground/platform.js';
import { askedPosition, startAt } from '../../client/protocol/index.js';
import { LiveStore, type LiveStoreOptions } from '../../client/store/live-store.js';
import type { Platform } from '../../client/store/platform.js';
import { BACKOFF, CHANNEL, FakeGateway } from '../property/wire.js';
import { FakeClock, settle } from './fakes.js';

const FRAME = 16;

export class StoreWorld {
  readonly clock = new FakeClock();
  readonly store: LiveStore;
  /** What the clients were made with. */
  readonly made: ClientOptions[] = [];
  /** The pages that were asked for, as `since`. */
  readonly polls: string[] = [];
  hidden = false;
  /** The one that the store uses now. */
  gateway: FakeGateway;
  #used = false;
  /** Answers the HTTP API. */
  api: (path: string, init?: RequestInit) => { status: number; body: unknown } = () => ({ status: 404, body: {} });
  /** How many events a poll is answered with. */
  pollRows = 700;

  constructor(head: number, options: Partial<LiveStoreOptions> = {}) {
    this.gateway = new FakeGateway(head, this.clock);
    const platform: Platform = {
      clock: this.clock,
      frame: (task) => this.clock.after(this.hidden ? 1_000 : FRAME, task),
      hidden: () => this.hidden,
      connect: (made) => this.#connect(made),
    };
    const fetch = ((url, init) => this.#fetch(String(url), init)) as Fetch;
    this.store = new LiveStore({ url: 'http://gateway.test', fetch, ...options }, platform);
  }

  /** Everything that is on its way arrives. */
  async deliver(): Promise<void> {
    for (let quiet = 0; quiet < 2; quiet += 1) {
      await settle();
      this.gateway.connect();
      if (this.gateway.up.length + this.gateway.down.length > 0) quiet = 0;
      while (this.gateway.up.length > 0) this.gateway.answer();
      this.gateway.send(10_000);
      while (this.gateway.down.length > 0) this.gateway.arrive();
    }
    await settle();
  }

  /** The same, and the delays after refusals and resets pass. */
  async calm(): Promise<void> {
    for (let round = 0; round < 6; round += 1) {
      await this.deliver();
      await this.clock.turn(BACKOFF.cap);
    }
  }

  #connect(made: ClientOptions) {
    this.made.push(made);
    if (this.#used) {
      const { epoch, floor, head } = this.gateway;
      this.gateway = new FakeGateway(head, this.clock);
      Object.assign(this.gateway, { epoch, floor });
    }
    this.#used = true;
    const { client } = this.gateway;
    return made.transports?.join() === 'poll' ? Object.assign(client, POLLING) : client;
  }

  async #fetch(url: string, init?: RequestInit): Promise<Response> {
    const { pathname, searchParams, search } = new URL(url);
    const answer = ({ status, body }: { status: number; body: unknown }) =>
      new Response(JSON.stringify(body), { status });
    if (pathname !== '/v1/poll') return answer(this.api(pathname + search, init));
    const since = searchParams.get('since') ?? '';
    this.polls.push(since);
    const { gateway } = this;
    const start = startAt(askedPosition(since, gateway) ?? { epoch: '', seq: 0 }, gateway);
    const count = Math.min(this.pollRows, gateway.head - start.after);
    const events = Array.from({ length: count }, (_, index) => gateway.row(start.after + 1 + index));
    const position = `${gateway.epoch}.${start.after}`;
    const reset = { type: 'reset', channel: CHANNEL, reason: start.reset, position };
    const frames = [
      ...(start.reset === null ? [] : [reset]),
      ...(count > 0 ? [{ type: 'events', channel: CHANNEL, from: start.after + 1, events }] : []),
    ];
    return answer({ status: 200, body: { frames, positions: {} } });
  }
}

const POLLING = { stats: () => ({}), pause() {}, resume() {}, refresh() {} };
