import { createWriteStream, type WriteStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { type FaultProxy, startProxy } from '../support/proxy.js';
import { until } from '../support/until.js';
import type { Database } from './database.js';
import { type GatewayProcess, startGatewayProcess } from './gateway-process.js';

/** Between two attempts to start, in milliseconds. */
const START_AGAIN = 200;
const READY_TIMEOUT = 60_000;
const LAG = /^nodejs_eventloop_lag_max_seconds (\S+)$/m;

/** One life of a gateway's process. Times in milliseconds of `performance.now`, sizes in bytes. */
export interface Life {
  readonly from: number;
  to: number | null;
  readonly memory: { readonly age: number; readonly bytes: number }[];
  /** The longest delay of its event loop between two looks. */
  readonly lags: { readonly from: number; readonly to: number; readonly ms: number }[];
  /** The last values of its counters that could be had. */
  metrics: Record<string, number>;
}

/** One gateway as a process of its own, with a proxy on each of its sides. */
export class Gateway {
  readonly index: number;
  readonly name: string;
  /** Between the clients and the gateway. */
  readonly front: FaultProxy;
  /** In front of that, for the clients that have several ways. */
  readonly doors: { readonly websocket: FaultProxy; readonly sse: FaultProxy };
  /** Between the gateway and the database. */
  readonly back: FaultProxy;
  /** Its role in PostgreSQL: by this its sessions are told from those of the others. */
  readonly user: string;
  readonly lives: Life[] = [];
  readonly #database: Database;
  readonly #settings: Record<string, string>;
  readonly #log: WriteStream;
  /** Ends that nobody asked for. */
  readonly crashes: string[] = [];
  #process: GatewayProcess | null = null;
  #ending = false;

  private constructor(
    index: number,
    database: Database,
    settings: Record<string, string>,
    log: WriteStream,
    proxies: FaultProxy[],
  ) {
    const [front, back, websocket, sse] = proxies as [FaultProxy, FaultProxy, FaultProxy, FaultProxy];
    this.index = index;
    this.name = `gateway ${index}`;
    this.user = `gateway_${index}`;
    this.front = front;
    this.doors = { websocket, sse };
    this.back = back;
    this.#database = database;
    this.#settings = settings;
    this.#log = log;
  }

  static async create(
    index: number,
    database: Database,
    settings: Record<string, string>,
    logFile: string,
  ): Promise<Gateway> {
    // A port that nobody listens on until the gateway does.
    const front = await startProxy(1);
    const doors = [await startProxy(front.port), await startProxy(front.port)];
    const proxies = [front, await startProxy(database.port), ...doors];
    const gateway = new Gateway(index, database, settings, createWriteStream(logFile), proxies);
    await database.query(`CREATE ROLE ${gateway.user} LOGIN IN ROLE rowcast_gateway`);
    await gateway.start();
    return gateway;
  }

  get pid(): number {
    if (this.#process === null || !this.running) throw new Error(`${this.name} does not run`);
    return this.#process.pid;
  }

  /** Its own address, past the proxy. */
  get url(): string {
    return this.#process?.url ?? '';
  }

  get running(): boolean {
    return this.#process !== null && this.life?.to === null;
  }

  get life(): Life | undefined {
    return this.lives.at(-1);
  }

  /** Like a service manager: as often as it takes, because the database may be away. */
  async start(): Promise<void> {
    const deadline = performance.now() + READY_TIMEOUT;
    for (;;) {
      try {
        await this.#start();
        return;
      } catch (error) {
        if (performance.now() > deadline) throw new Error(`${this.name} does not start`, { cause: error });
        await delay(START_AGAIN);
      }
    }
  }

  async #start(): Promise<void> {
    const database = new URL(this.#database.url);
    database.username = this.user;
    const settings = {
      DATABASE_URL: this.back.via(database.href),
      ROWCAST_PORT: '0',
      ROWCAST_LOG_LEVEL: 'info',
      ...this.#settings,
    };
    const started = await startGatewayProcess(settings, (line) => this.#log.write(`${line}\n`));
    this.#process = started;
    this.front.retarget(Number(new URL(started.url).port));
    const life: Life = { from: performance.now(), to: null, memory: [], lags: [], metrics: {} };
    this.lives.push(life);
    this.#ending = false;
    void started.exited.then((status) => {
      life.to = performance.now();
      if (!this.#ending) this.crashes.push(`${this.name} ended by itself, with status ${status ?? 'of a signal'}`);
    });
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  /** Resolves with the exit code; null if a signal ended it. */
  async end(signal: 'SIGKILL' | 'SIGTERM'): Promise<number | null> {
    if (signal === 'SIGTERM') await this.sample();
    this.#ending = true;
    this.signal(signal);
    return (await this.#process?.exited) ?? null;
  }

  async isReady(): Promise<boolean> {
    const stop = AbortSignal.timeout(1_000);
    return fetch(`${this.url}/readyz`, { signal: stop }).then(
      ({ ok }) => ok,
      () => false,
    );
  }

  async ready(): Promise<void> {
    await until(() => this.isReady(), { deadlineMs: READY_TIMEOUT, what: `${this.name} to be ready` });
  }

  /** The process ids of its sessions in PostgreSQL. */
  async backends(session = '%'): Promise<number[]> {
    const rows = await this.#database.query<{ pid: number }>(
      'SELECT pid FROM pg_stat_activity WHERE usename = $1 AND application_name LIKE $2 ORDER BY pid',
      [this.user, `rowcast ${session}`],
    );
    return rows.map(({ pid }) => pid);
  }

  /** Notes its memory, and its counters where it has any. */
  async sample(timeoutMs = 500): Promise<void> {
    const life = this.life;
    if (life === undefined || life.to !== null) return;
    const status = await readFile(`/proc/${this.pid}/status`, 'utf8').catch(() => '');
    const kilobytes = Number(/VmRSS:\s+(\d+) kB/.exec(status)?.[1] ?? 0);
    if (kilobytes > 0) life.memory.push({ age: performance.now() - life.from, bytes: kilobytes * 1024 });
    const text = await fetch(`${this.url}/metrics`, { signal: AbortSignal.timeout(timeoutMs) }).then(
      (response) => (response.ok ? response.text() : ''),
      () => '',
    );
    if (text === '') return;
    life.metrics = readMetrics(text);
    const lag = LAG.exec(text)?.[1];
    const to = performance.now();
    // Whoever asks gets the longest since somebody asked before.
    if (lag !== undefined) life.lags.push({ from: life.lags.at(-1)?.to ?? life.from, to, ms: Number(lag) * 1_000 });
  }

  /** The longest delay of its event loop in the looks that a time fell into, in milliseconds; null if there was none. */
  lagBetween(from: number, to: number): number | null {
    const met = this.life?.lags.filter((look) => look.from <= to && look.to >= from) ?? [];
    return met.length === 0 ? null : Math.max(...met.map(({ ms }) => ms));
  }

  async stop(): Promise<void> {
    if (this.running) {
      this.signal('SIGCONT');
      await this.end('SIGTERM');
    }
    const { front, back, doors } = this;
    await Promise.all([front, back, doors.websocket, doors.sse].map((proxy) => proxy.close()));
    this.#log.end();
  }
}

/** The counters of Rowcast in the text format of Prometheus, without labels. */
function readMetrics(text: string): Record<string, number> {
  const lines = text.matchAll(/^rowcast_(\w+) (\S+)$/gm);
  return Object.fromEntries([...lines].map(([, name, value]) => [name, Number(value)]));
}
