import { type Counts, sum, type Verdict } from '../../server/verify/verdict.js';
import type { Arrival } from './arrival.js';
import type { Closing } from './clients/host.js';
import type { Moves } from './clients/plan.js';
import type { MemoryPair, Skipped } from './course.js';
import type { CampaignOptions } from './options.js';
import type { Struck } from './strikes.js';
import type { SilentRow, World } from './world.js';

/** A gateway may hold so many times the memory at the end of what it held at the beginning. */
const GROWTH = 1.3;
/** Less than so many bytes more are no leak, however small it was: code that was compiled, buffers of the first clients. */
const SETTLING = 40 * 1024 ** 2;
/** Counters of the gateways that are worth a line, where they exist. */
const METRICS = [
  'rings_total',
  'commits_total',
  'silent_commits_total',
  'tail_reads_total',
  'unannounced_reads_total',
  'awake_seconds_total',
  'pages_total',
  'page_statements_total',
];

export interface ClientSummary extends Counts {
  readonly client: string;
  readonly kind: string;
  readonly channels: readonly string[];
  readonly connections: number;
  readonly moves: Moves;
  /** Rows whose checksum was wrong. */
  readonly broken: number;
  /** Between two events of any channel while rows were written, in milliseconds. */
  readonly longestSilence: number;
  readonly faults: readonly string[];
}

/** What a campaign found. Times are in seconds where the name says nothing else, sizes in bytes. */
export interface Summary {
  readonly seed: number;
  readonly options: { minutes: number; gateways: number; clients: number; rowsPerSecond: number };
  readonly seconds: number;
  readonly postgres: string;
  readonly rows: number;
  readonly deliveries: number;
  readonly total: Counts;
  readonly clients: readonly ClientSummary[];
  readonly faults: readonly Struck[];
  readonly skipped: readonly Skipped[];
  readonly arrivalSeconds: number;
  readonly writers: {
    waitsMs: { p50: number; p99: number; max: number };
    inserts: number;
    retries: number;
    excusedFailures: number;
  };
  readonly memory: readonly (MemoryPair & { ratio: number })[];
  /** How long rows of channels that are seldom written to waited for each gateway while nothing was broken. */
  readonly rareRowsMs: { count: number; p50: number; p99: number; max: number };
  readonly silentRows: readonly SilentRow[];
  /** How often it was looked whether a writer waits for a gateway. */
  readonly lockLooks: number;
  readonly metrics: Readonly<Record<string, number>>;
  readonly lagMs: { p99: number; max: number; clientsMax: number };
  /** Everything that must not have been; empty if the campaign was passed. */
  readonly violations: readonly string[];
}

export interface Findings {
  readonly options: CampaignOptions;
  readonly world: World;
  readonly struck: readonly Struck[];
  readonly skipped: readonly Skipped[];
  readonly lockLooks: number;
  readonly memory: readonly MemoryPair[];
  readonly arrival: Arrival;
  readonly closed: Closing | Omit<Closing, 'type'>;
  readonly verdict: Verdict;
  readonly faults: {
    clients: readonly string[];
    tables: readonly string[];
    locks: readonly string[];
    late: readonly string[];
  };
  readonly rareRowsMs: readonly number[];
  readonly rows: number;
  readonly seconds: number;
  readonly lagMs: Summary['lagMs'];
}

export function summarise(findings: Findings): Summary {
  const { options, world, struck, arrival, closed, verdict, faults, rows, rareRowsMs: rare, seconds, lagMs } = findings;
  const writers = world.team.all;
  const waits = writers.flatMap((writer) => writer.waits).sort((a, b) => a - b);
  const clients = closed.clients.map((client): ClientSummary => {
    const readers = verdict.readers.filter((reader) => reader.client === client.name);
    const { name, kind, channels, deliveries, connections, moves, broken, longestSilence } = client;
    const described = readers.flatMap(({ channel, faults }) =>
      faults.map((fault) => `${channel}: ${fault.kind}, line ${fault.line ?? 'end'}: ${fault.message}`),
    );
    return {
      client: name,
      kind,
      channels,
      connections,
      moves,
      broken,
      longestSilence,
      ...sum(readers),
      // It has no history: at the end its collections are compared with the table.
      ...(kind === 'follower' && { events: deliveries }),
      faults: [...client.faults, ...described],
    };
  });
  const memory = findings.memory.map((pair) => ({ ...pair, ratio: (pair.after ?? 0) / pair.before }));
  const violations = [
    ...clients.flatMap(({ client, faults }) => faults.map((fault) => `${client} ${fault}`)),
    ...verdict.readers.flatMap(watchFaults),
    ...clients.filter(({ broken }) => broken > 0).map(({ client, broken }) => `${client} got ${broken} broken rows`),
    ...unmoved(clients, struck),
    ...arrival.behind.map((who) => `did not arrive: ${who}`),
    ...faults.clients,
    ...faults.tables,
    ...faults.locks,
    ...faults.late,
    ...world.gateways.flatMap(({ crashes }) => crashes),
    ...writers.flatMap(({ faults }) => faults.map(({ writer, what }) => `writer ${writer}: ${what}`)),
    ...struck.filter(({ error }) => error !== undefined).map(({ name, error }) => `${name}: ${error}`),
    ...memory
      .filter(({ before, after, ratio }) => ratio > GROWTH && (after ?? 0) - before > SETTLING)
      .map(({ gateway, before, after }) => `the memory of ${gateway} grew from ${before} to ${after} bytes`),
  ];
  return {
    seed: options.seed,
    options: {
      minutes: options.minutes,
      gateways: options.gateways,
      clients: options.clients,
      rowsPerSecond: options.rowsPerSecond,
    },
    seconds,
    postgres: world.database.version,
    rows,
    deliveries: verdict.total.events,
    total: verdict.total,
    clients,
    faults: struck,
    skipped: findings.skipped,
    arrivalSeconds: arrival.seconds,
    writers: {
      waitsMs: { p50: percentile(waits, 0.5), p99: percentile(waits, 0.99), max: waits.at(-1) ?? 0 },
      inserts: waits.length,
      retries: world.team.retries,
      excusedFailures: writers.reduce((sum, { failures }) => sum + failures, 0),
    },
    memory,
    rareRowsMs: { count: rare.length, p50: percentile(rare, 0.5), p99: percentile(rare, 0.99), max: rare.at(-1) ?? 0 },
    silentRows: world.silentRows,
    lockLooks: findings.lockLooks,
    metrics: sumMetrics(world),
    lagMs,
    violations,
  };
}

/** Each time the doors are shut every client that has several goes down, and comes back up. */
function unmoved(clients: readonly ClientSummary[], struck: readonly Struck[]): string[] {
  const times = struck.filter(({ name }) => name.startsWith('doors-')).length;
  return clients
    .filter(({ kind, moves: { down, up } }) => kind === 'ladder' && (down < times || up < times))
    .map(({ client, moves: { down, up } }) => {
      return `the doors were shut ${times} times, but ${client} moved ${down} times down and ${up} times up`;
    });
}

/** `rowcast watch` is no client of the process of the clients. */
function watchFaults({ client, channel, faults }: Verdict['readers'][number]): string[] {
  return client.startsWith('watch-')
    ? faults.map(({ kind, message }) => `${client} ${channel}: ${kind}: ${message}`)
    : [];
}

export function percentile(sorted: readonly number[], share: number): number {
  return sorted[Math.floor((sorted.length - 1) * share)] ?? 0;
}

function sumMetrics({ gateways }: World): Record<string, number> {
  const lives = gateways.flatMap((gateway) => gateway.lives);
  const known = METRICS.filter((name) => lives.some(({ metrics }) => name in metrics));
  return Object.fromEntries(
    known.map((name) => [name, lives.reduce((sum, life) => sum + (life.metrics[name] ?? 0), 0)]),
  );
}
