import { afterEach, beforeEach, expect } from '@jest/globals';
import type { Fetch } from '../../client/ground/platform.js';
import type { Command } from '../../client/protocol/index.js';
import type { Link, Rung } from '../../client/transport/rung.js';
import { settle } from '../support/fakes.js';

/** A rung whose HTTP requests the test answers. */

/** One request of a rung. The test plays the gateway. */
export class FakeRequest {
  readonly url: string;
  readonly commands: { type: string; id: number; channel?: string; since?: string }[];
  readonly signal: AbortSignal;
  readonly #resolve: (response: Response) => void;
  #stream: ReadableStreamDefaultController<Uint8Array> | null = null;

  constructor(url: string, init: RequestInit, resolve: (response: Response) => void) {
    this.url = url;
    this.commands = JSON.parse(String(init.body));
    this.signal = init.signal as AbortSignal;
    this.#resolve = resolve;
  }

  get said(): string {
    return this.commands.map(({ type, since }) => (since === undefined ? type : `${type} ${since}`)).join(', ');
  }

  idOf(type: string): number {
    return this.commands.find((command) => command.type === type)?.id ?? -1;
  }

  async answer(body: unknown, status = 200, headers: Record<string, string> = {}): Promise<void> {
    const type = { 'Content-Type': 'application/json; charset=utf-8' };
    this.#resolve(new Response(JSON.stringify(body), { status, headers: { ...type, ...headers } }));
    await settle();
  }

  async write(text: string): Promise<void> {
    if (this.#stream === null) {
      const body = new ReadableStream<Uint8Array>({
        start: (stream) => {
          this.#stream = stream;
          this.signal.addEventListener('abort', () => stream.error(this.signal.reason));
        },
      });
      this.#resolve(new Response(body, { headers: { 'Content-Type': 'text/event-stream; charset=utf-8' } }));
    }
    this.#stream?.enqueue(new TextEncoder().encode(text));
    await settle();
  }

  async end(): Promise<void> {
    this.#stream?.close();
    await settle();
  }
}

export let requests: FakeRequest[];
export let heard: string[];
export let heartbeats: number[];
export let link: Link;

export const fetch = ((url: string, init: RequestInit) =>
  new Promise<Response>((resolve, reject) => {
    requests.push(new FakeRequest(url, init, resolve));
    init.signal?.addEventListener('abort', () => reject(init.signal?.reason));
  })) as Fetch;

export const last = () => requests.at(-1) as FakeRequest;
export const CONNECTED = { type: 'connected', session: 's', heartbeat: 25_000, limits: {} };
export const subscribed = (id: number, channel = 'a:1') => ({
  type: 'subscribed',
  id,
  channel,
  epoch: 'e',
  head: 5,
  floor: 1,
});
export const events = (from: number, count: number, channel = 'a:1') => ({
  type: 'events',
  channel,
  from,
  events: Array.from({ length: count }, () => ({})),
});

beforeEach(() => {
  heard = [];
  heartbeats = [];
});
afterEach(() => link.close());

export async function open(rung: Rung): Promise<void> {
  requests = [];
  link = rung.open({
    onOpen: () => link.send({ type: 'connect', id: 1, protocol: 1, token: 't' }),
    onFrame: (frame) => {
      heard.push('code' in frame ? `${frame.type} ${frame.code}` : frame.type);
      if (frame.type === 'connected') heartbeats.push(frame.heartbeat);
    },
    onHeard: () => heard.push('.'),
    onClose: (code, reason) => heard.push(`close ${code} ${reason}`),
  });
  expect(requests).toEqual([]);
  await settle();
}

export async function say(...commands: Command[]): Promise<void> {
  for (const command of commands) link.send(command);
  await settle();
}
