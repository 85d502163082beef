import { FAULTS } from '../../server/verify/verdict.js';
import { percentile, SILENT_ROW_GOAL, type Summary } from './summary.js';

const MiB = 1024 * 1024;
const LISTED = 30;

/** What a campaign found, for people. */
export function report(summary: Summary): string[] {
  const { total, writers, memory, violations, lagMs, rareRowsMs: rare } = summary;
  const ms = (value: number) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
  const silent = [...summary.silentRowsMs].sort((a, b) => a - b);
  return [
    '',
    ...clientTable(summary),
    '',
    ...faultTable(summary),
    '',
    `${summary.rows} rows written in ${summary.seconds.toFixed(0)} s, ${summary.deliveries} deliveries to ${summary.clients.length} clients (and rowcast watch), ${summary.faults.length} faults`,
    `gaps ${total.gaps}, duplicates ${total.duplicates}, reorders ${total.reorders}, foreign ${total.foreign}, altered ${total.altered}, missing ${total.missing}; resets ${total.resets}`,
    `the last rows were everywhere after ${summary.arrivalSeconds.toFixed(1)} s`,
    `writers: INSERT p50 ${ms(writers.waitsMs.p50)}, p99 ${ms(writers.waitsMs.p99)}, max ${ms(writers.waitsMs.max)} (${writers.inserts} into channels of their own); ${writers.retries} retries, ${writers.excusedFailures} failures that were PostgreSQL's own`,
    ...memory.map(({ gateway, before, after, ratio }) => {
      return `memory of ${gateway}: ${(before / MiB).toFixed(0)} MiB, then ${((after ?? 0) / MiB).toFixed(0)} MiB (${ratio.toFixed(2)})`;
    }),
    `rare rows, past the proxies, in sound times: ${rare.count} waited p50 ${ms(rare.p50)}, p99 ${ms(rare.p99)}, max ${ms(rare.max)}`,
    ...(silent.length > 0
      ? [
          `rows that rang for nobody when the ringer died: ${silent.length}, waited p50 ${ms(percentile(silent, 0.5))}, max ${ms(silent.at(-1) ?? 0)} (goal: ${SILENT_ROW_GOAL} ms)`,
        ]
      : []),
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

function clientTable({ clients }: Summary): string[] {
  const kinds = [...new Set(clients.map(({ kind }) => kind))];
  const head = [
    'CLIENTS',
    'COUNT',
    'CONNECTIONS',
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
      add('events'),
      add('resets'),
      ...FAULTS.map(add),
      `${(silence / 1000).toFixed(1)} s`,
    ];
  });
  return columns([head, ...rows]);
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
