/**
 * Clients that follow every execution of the storm by each transport, and record what they get. A client leaves an execution
 * with its last event. The judge of the campaigns compares the histories with the log.
 */
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { type Client, createClient } from '../../client/node.js';
import { feed } from '../../server/cli/verify.js';
import { TableReader } from '../../server/postgres/table-reader.js';
import { Judge } from '../../server/verify/judge.js';
import { Recorder } from '../../server/verify/recorder.js';
import { waysTo } from '../campaign/clients/ways.js';
import type { Random } from './random.js';
import { until } from './until.js';

/** Those who poll ask for each channel, so they follow one execution of so many. */
const KINDS = [
  { name: 'websocket-1', transports: ['websocket'], one: 1 },
  { name: 'websocket-2', transports: ['websocket'], one: 1 },
  { name: 'sse', transports: ['sse'], one: 1 },
  { name: 'ladder', transports: ['websocket', 'sse', 'poll'], one: 1 },
  { name: 'poll', transports: ['poll'], one: 5 },
] as const;
const ENDS = /^execution-(completed|failed|cancelled)$/;

export class StormClients {
  readonly #clients: readonly Follower[];
  #followed = 0;

  private constructor(clients: readonly Follower[]) {
    this.#clients = clients;
  }

  /** `ports`: of the gateways that live, of which each connection takes any. */
  static async start(folder: string, ports: readonly number[], random: Random): Promise<StormClients> {
    await mkdir(folder);
    return new StormClients(
      KINDS.map(({ name, transports, one }) => {
        const ways = waysTo({ websocket: ports, sse: ports, poll: ports }, random.branch(name));
        return new Follower(name, createClient({ url: `http://${name}`, transports, ...ways }), folder, one);
      }),
    );
  }

  follow(execution: string): void {
    for (const client of this.#clients) if (this.#followed % client.one === 0) client.follow(execution);
    this.#followed += 1;
  }

  /** What is wrong with what they got, once all executions have ended. */
  async judged(url: string): Promise<string[]> {
    const missing = () =>
      this.#clients.filter(({ open }) => open > 0).map(({ name, open }) => `${name} misses ${open} ends`);
    const ends = { deadlineMs: 30_000, what: 'the clients to get the ends' };
    const late = await until(() => missing().length === 0, ends).then(
      () => [],
      () => missing(),
    );
    for (const client of this.#clients) client.close();
    const log = await TableReader.connect(url);
    try {
      const judge = new Judge(log);
      for (const { history } of this.#clients) await feed(history, judge);
      const { readers } = await judge.finish({ complete: true });
      const faults = readers.flatMap(({ client, channel, faults, ended }) => [
        ...faults.map(({ kind, message }) => `${client} ${channel}: ${kind}: ${message}`),
        ...(ended ? [] : [`${client} ${channel}: no end`]),
      ]);
      return [...late, ...faults];
    } finally {
      await log.close();
    }
  }

  close(): void {
    for (const client of this.#clients) client.close();
  }
}

class Follower {
  readonly name: string;
  readonly one: number;
  readonly history: string;
  readonly #client: Client;
  readonly #recorder: Recorder;
  #closed = false;
  open = 0;

  constructor(name: string, client: Client, folder: string, one: number) {
    this.name = name;
    this.one = one;
    this.history = join(folder, `${name}.jsonl`);
    this.#client = client;
    this.#recorder = new Recorder(this.history, {
      content: 'digest',
      onError: (error) => {
        throw error;
      },
    });
  }

  follow(execution: string): void {
    const channel = `execution:${execution}`;
    const reader = this.#recorder.begin(this.name, channel, 'start');
    this.open += 1;
    const subscription = this.#client.subscribe(channel, {
      since: 'start',
      onEvent: (event) => {
        reader.event(event);
        if (!ENDS.test(String(event.row.event_type))) return;
        reader.end(event.position);
        subscription.close();
        this.open -= 1;
      },
      onReset: reader.reset,
    });
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#client.close();
    this.#recorder.close();
  }
}
