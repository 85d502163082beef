import { setTimeout as delay } from 'node:timers/promises';
import { type Client, createClient, type StreamEvent, type Subscription } from '../../../client/node.js';
import { parsePosition } from '../../../client/protocol/index.js';
import type { Random } from '../../support/random.js';
import type { Memory } from './memory.js';
import type { Kind, Ports } from './plan.js';
import type { Reader } from './reader.js';
import { type Ways, waysTo } from './ways.js';

/** How long a visit lasts, and how long it is until the next; in milliseconds. */
const STAYS = [1_000, 15_000] as const;
const AWAY = [200, 8_000] as const;
/** Every so many events a slow loop stands still for up to so many milliseconds. */
const LOOP_STEP = 500;
const LOOP_PAUSE = 3_000;

const LADDER = ['websocket', 'sse', 'poll'] as const;
const TRANSPORTS: Partial<Record<Kind, readonly (typeof LADDER)[number][]>> = {
  sse: ['sse'],
  'long-poll': LADDER,
  interval: ['poll'],
  ladder: LADDER,
};

/** The client library, as an application uses it. Each new connection goes to any of the gateways. */
export class LibraryReader implements Reader {
  readonly #memory: Memory;
  readonly #random: Random;
  readonly #kind: Kind;
  readonly #slow: boolean;
  readonly #ways: Ways;
  #client: Client | null = null;
  #finishing = false;
  #closed = false;
  readonly #stop = new AbortController();

  constructor(memory: Memory, ports: Ports, random: Random, kind: Kind) {
    this.#memory = memory;
    this.#random = random;
    this.#kind = kind;
    this.#slow = kind === 'loop' && random.chance(0.5);
    this.#ways = waysTo(ports, random);
  }

  get connected(): boolean {
    return this.#client?.state === 'connected';
  }

  /** What it is connected by; null while it is not. */
  get transport(): string | null {
    return this.connected ? (this.#client?.transport ?? null) : null;
  }

  start(): void {
    if (this.#kind === 'nomad' || this.#kind === 'replayer') void this.#comeAndGo();
    else this.#visit();
  }

  finish(): void {
    this.#finishing = true;
    if (this.#client === null) this.#visit();
  }

  close(): void {
    this.#closed = true;
    this.#stop.abort();
    this.#leave();
  }

  async #comeAndGo(): Promise<void> {
    const wait = (range: readonly [number, number]) =>
      delay(this.#random.int(...range), undefined, { signal: this.#stop.signal }).catch(() => {});
    while (!this.#finishing && !this.#closed) {
      this.#visit();
      await wait(STAYS);
      if (this.#finishing || this.#closed) return;
      this.#leave();
      await wait(AWAY);
      if (this.#finishing || this.#closed) return;
    }
  }

  #leave(): void {
    this.#client?.close();
    this.#client = null;
    this.#memory.end();
  }

  #visit(): void {
    const memory = this.#memory;
    const client = createClient({
      // Of its own, because the rung that worked is remembered for each address.
      url: `http://${memory.name}`,
      ...this.#ways,
      transports: TRANSPORTS[this.#kind] ?? ['websocket'],
      onState: (state) => {
        if (state !== 'connected') return;
        memory.connected();
        if (client.transport !== null) memory.connectedBy(client.transport);
      },
    });
    this.#client = client;
    for (const channel of memory.channels) {
      const since = (this.#kind === 'replayer' ? undefined : memory.position(channel)) ?? 'start';
      memory.begin(channel, since);
      let asked = false;
      const subscription = client.subscribe(channel, {
        since,
        ...(this.#kind === 'loop' ? {} : { onEvent: (event: StreamEvent) => this.#take(event) }),
        onReset: ({ reason, position }) => memory.reset(channel, reason, position),
        onState: (state) => {
          // What waits for a loop has moved the position of the subscription, but was not handed on.
          const exact = this.#kind !== 'loop' || memory.position(channel) === undefined;
          if (asked && exact && (state === 'replaying' || state === 'live'))
            memory.subscribed(channel, subscription.position);
          asked = state === 'subscribing';
        },
      });
      if (this.#kind === 'loop') void this.#loop(subscription).catch(() => {});
    }
  }

  async #loop(subscription: Subscription): Promise<void> {
    let count = 0;
    for await (const event of subscription) {
      this.#take(event);
      count += 1;
      if (!this.#slow || this.#finishing || count % LOOP_STEP > 0) continue;
      await delay(this.#random.int(0, LOOP_PAUSE), undefined, { signal: this.#stop.signal }).catch(() => {});
    }
  }

  #take({ channel, position, row }: StreamEvent): void {
    const at = parsePosition(position);
    if (at !== null) this.#memory.event(channel, at, row);
  }
}
