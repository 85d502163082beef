import { expect } from '@jest/globals';
import type { Page } from 'puppeteer-core';
import { seqs } from '../support/follow.js';
import { until } from '../support/until.js';
import { type Engine, useBrowser } from './browser.js';
import type { Pages } from './pages.js';
import { type Settings, useWorld, type World } from './world.js';

/** Ways to the gateway: the rungs of the ladder, and the client that asks in intervals. */
export const WAYS = ['websocket', 'sse', 'long-poll', 'polling'] as const;
export type Way = (typeof WAYS)[number];

export interface ReaderOptions {
  readonly channels: readonly string[];
  /** Else a new one. */
  readonly page?: Page;
  /** Who serves the page; else those of the world. */
  readonly pages?: Pages;
  /** A URL; else the gateway itself. */
  readonly gateway?: string;
  /** Where the page may connect: sources of a Content-Security-Policy. */
  readonly connect?: string;
  /** Left out: the best that there is. */
  readonly by?: Way;
  /** See the option `share` of createClient. */
  readonly share?: string;
  /** The page sends its cookies to the gateway. */
  readonly cookies?: boolean;
  /** Under which the page keeps what it has, for the page that is opened after it. */
  readonly name?: string;
}

interface SourceOptions extends Required<Pick<ReaderOptions, 'page' | 'pages' | 'channels'>> {
  readonly source: string;
  /** The page gets a ticket for it. */
  readonly token?: string;
  /** The page sends its cookies. */
  readonly credentials?: 'include';
}

/** What the page of test/browser/pages/reader.html has seen. */
interface Seen {
  /** For each channel: seq and data of each event, in the order in which they came. */
  readonly events: Record<string, readonly [seq: number, data: unknown][]>;
  readonly resets: readonly string[];
}

/** A page that reads channels. */
export class Reader {
  readonly page: Page;
  readonly #channels: readonly string[];
  readonly #errors: string[] = [];

  private constructor(page: Page, channels: readonly string[]) {
    this.page = page;
    this.#channels = channels;
    page.on('pageerror', (error) => this.#errors.push(String(error)));
  }

  static async open(world: World, page: Page, options: Omit<ReaderOptions, 'page'>): Promise<Reader> {
    const { gateway = world.gateway.url, pages = world.pages, by } = options;
    const query = new URLSearchParams({ gateway });
    for (const channel of options.channels) query.append('channel', channel);
    // A client whose only transport is `poll` asks in intervals; one that has no other choice waits at the gateway.
    const connect = by === 'long-poll' ? `${gateway.replace(/\/$/, '')}/v1/poll` : options.connect;
    if (connect !== undefined) query.set('connect', connect);
    if (by !== undefined && by !== 'long-poll') query.set('transports', by === 'polling' ? 'poll' : by);
    if (options.share !== undefined) query.set('share', options.share);
    if (options.cookies) query.set('credentials', 'include');
    if (options.name !== undefined) query.set('name', options.name);
    const reader = new Reader(page, options.channels);
    await page.goto(`${pages.origin}/reader.html?${query}`);
    return reader;
  }

  /** A page that has no client, but the EventSource of the browser; `source` is what that reads. */
  static async openSource({ page, pages, source, channels, ...showing }: SourceOptions): Promise<Reader> {
    const reader = new Reader(page, channels);
    await page.goto(`${pages.origin}/eventsource.html?${new URLSearchParams({ source, ...showing })}`);
    return reader;
  }

  /** Events of all channels. */
  async total(): Promise<number> {
    return (await this.page.evaluate('page.total')) as number;
  }

  /** The rung in use. */
  async transport(): Promise<string | undefined> {
    return (await this.page.evaluate('page.client.transport')) as string | undefined;
  }

  /** When the first event was there, in milliseconds since the browser was told to open the page. */
  async firstEvent(): Promise<number> {
    return (await this.page.evaluate('page.firstEvent')) as number;
  }

  /** Waits for so many events of each channel. */
  async atLeast(count: number, deadlineMs = 10_000): Promise<void> {
    const wanted = count * this.#channels.length;
    let total = 0;
    const enough = async () => {
      total = await this.total();
      return total >= wanted;
    };
    await until(enough, { deadlineMs, what: `${wanted} events` }).catch(async (error: Error) => {
      const course = await this.page.evaluate('[page.client?.transport, page.states, page.ended]');
      throw new Error(`${error.message}: there are ${total}. ${JSON.stringify([course, this.#errors])}`);
    });
  }

  /** I1, I2, I3: waits for the events 1 to `count` of each channel, and fails if one was missing, double or misplaced. */
  async hasEach(count: number, deadlineMs?: number): Promise<void> {
    await this.atLeast(count, deadlineMs);
    const { events, resets } = (await this.page.evaluate('page.seen')) as Seen;
    expect(resets).toEqual([]);
    for (const channel of this.#channels) {
      expect({ channel, seqs: events[channel]?.map(([seq]) => seq) }).toEqual({ channel, seqs: seqs(1, count) });
      expect({ channel, data: events[channel]?.map(([, data]) => data) }).toEqual({ channel, data: seqs(1, count) });
    }
  }
}

export interface Readers {
  readonly world: World;
  newPage(): Promise<Page>;
  /** Opens a page that reads. */
  open(options: ReaderOptions): Promise<Reader>;
}

/** One world and one browser for the test file that calls this. */
export function useReaders(engine: Engine, settings?: Settings): Readers {
  const world = useWorld(settings);
  const { newPage } = useBrowser(engine);
  return {
    world,
    newPage,
    open: async ({ page, ...options }) => Reader.open(world, page ?? (await newPage()), options),
  };
}
