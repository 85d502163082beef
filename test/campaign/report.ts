import { FAULTS } from '../../server/verify/verdict.js';
import type { Moves } from './clients/plan.js';
import { LONGEST_SILENCE } from './nemeses/silence.js';
import { percentile, type Summary } from './summary.js';

const MiB = 1024 * 1024;
const LISTED = 30;

/** What a campaign found, for people. */
export function report(summary: Summary): string[] {
  const { total, writers, memory, violations, lagMs, rareRowsMs: rare } = summary;
  return [
    '',
    ...clientTable(summary),
    '',
    ...faultTable(summary),
    ...summary.skipped.map(({ name, why }) => `${name} was left out: ${why}`),
    '',
    `${summary.rows} rows written in ${summary.seconds.toFixed(0)} s, ${summary.deliveries} deliveries to ${summary.clients.length} clients (and rowcast watch), ${summary.faults.length} faults`,
    `gaps ${total.gaps}, duplicates ${total.duplicates}, reorders ${total.reorders}, foreign ${total.foreign}, altered ${total.altered}, missing ${total.missing}; resets ${total.resets}`,
    `the last rows were everywhere after ${summary.arrivalSeconds.toFixed(1)} s`,
    `writers: INSERT p50 ${ms(writers.waitsMs.p50)}, p99 ${ms(writers.waitsMs.p99)}, max ${ms(writers.waitsMs.max)} (${writers.inserts} into channels of their own); ${writers.retries} retries, ${writers.excusedFailures} failures that were PostgreSQL's own`,
    ...memory.map(({ gateway, before, after, ratio }) => {
      return `memory of ${gateway}: ${(before / MiB).toFixed(0)} MiB, then ${((after ?? 0) / MiB).toFixed(0)} MiB (${ratio.toFixed(2)})`;
    }),
    `rare rows, past the proxies, in sound times: ${rare.count} waited p50 ${ms(rare.p50)}, p99 ${ms(rare.p99)}, max ${ms(rare.max)}`,
    ...silentRows(summary),
    `looked ${summary.lockLooks} times whether a writer waits for a session of a gateway`,
    ...(Object.keys(summary.metrics).length > 0
      ? [
          `metrics: ${Object.entries(summary.metrics)
            .map(([name, value]) => `${name} ${Math.round(value)}`)
            .join(', ')}`,
        ]
      : []),
    `event loop: campaign p99 ${ms(lagMs.p99)}, max ${ms(lagMs.max)}; clients max ${ms(lagMs.clientsMax)}`,
    `PostgreSQL ${summary.postgres}, seed ${summary.seed}`,
    '',
    ...violations.slice(0, LISTED).map((violation) => `VIOLATION  ${violation}`),
    ...(violations.length > LISTED ? [`… and ${violations.length - LISTED} more in summary.json`] : []),
    violations.length === 0
      ? 'passed: every client has every row, once and in order'
      : `FAILED: ${violations.length} violations`,
  ];
}

function ms(value: number): string {
  return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
}

/** Those that waited too long one by one, with what may explain it. */
function silentRows({ silentRows: rows }: Summary): string[] {
  if (rows.length === 0) return [];
  const waits = rows.map(({ waited }) => waited).sort((a, b) => a - b);
  const late = rows.filter(({ waited }) => waited > LONGEST_SILENCE);
  const figures = `waited p50 ${ms(percentile(waits, 0.5))}, max ${ms(waits.at(-1) ?? 0)}`;
  return [
    `rows that rang for nobody when the ringer died: ${rows.length}, ${figures}, ${late.length} of them over ${LONGEST_SILENCE} ms`,
    ...late.map(({ waited, gateway, gatewayLag, campaignLag }) => {
      const there = gatewayLag === null ? 'unknown' : ms(gatewayLag);
      return `  ${ms(waited)}; meanwhile the event loop of ${gateway} stood still for ${there} at most, that of the campaign for ${ms(campaignLag)}`;
    }),
  ];
}

function clientTable({ clients }: Summary): string[] {
  const kinds = [...new Set(clients.map(({ kind }) => kind))];
  const head = [
    'CLIENTS',
    'COUNT',
    'CONNECTIONS',
    'DOWN',
    'UP',
    'EVENTS',
    'RESETS',
    ...FAULTS.map((name) => name.toUpperCase()),
    'SILENCE',
  ];
  const rows = kinds.map((kind) => {
    const of = clients.filter((client) => client.kind === kind);
    const add = (field: 'connections' | 'events' | 'resets' | (typeof FAULTS)[number]) =>
      `${of.reduce((sum, client) => sum + client[field], 0)}`;
    const silence = Math.max(...of.map(({ longestSilence }) => longestSilence));
    return [
      kind,
      `${of.length}`,
      add('connections'),
      ...moves(of),
      add('events'),
      add('resets'),
      ...FAULTS.map(add),
      `${(silence / 1000).toFixed(1)} s`,
    ];
  });
  return columns([head, ...rows]);
}

/** From one way down to a worse one, and to a better one. */
function moves(clients: Summary['clients']): string[] {
  const add = (direction: keyof Moves) => clients.reduce((sum, { moves }) => sum + moves[direction], 0);
  return [`${add('down')}`, `${add('up')}`];
}

function faultTable({ faults }: Summary): string[] {
  const names = [...new Set(faults.map(({ name }) => name))].sort();
  const rows = names.map((name) => {
    const of = faults.filter((fault) => fault.name === name);
    const seconds = of.reduce((sum, { lasted }) => sum + lasted, 0) / 1000;
    return [name, `${of.length}`, `${seconds.toFixed(1)} s`, `${of.filter(({ error }) => error !== undefined).length}`];
  });
  return columns([['FAULT', 'COUNT', 'LASTED', 'FAILED'], ...rows]);
}

/** Words to the left, numbers to the right. */
function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  '),
  );
}
