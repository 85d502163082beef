import { createHash } from 'node:crypto';
import type { Stream } from './streams.js';

/** A statement that Postgres keeps prepared under a name that changes with its text. */
export function named(text: string): { name: string; text: string } {
  return { name: createHash('sha1').update(text).digest('hex').slice(0, 16), text };
}

/** New rows that one read of the tail carries, and bytes of them; what is more is read as pages. */
export const TAIL_ROWS = 500;
const TAIL_BYTES = 1024 * 1024;

/** Channels that one read of the tail may name; beyond that the hub asks for the state of its own channels. */
export const MOVED_CHANNELS = 10_000;

/** A row that may be larger than this is not encoded by the tail, where every channel would wait for it. */
const TAIL_ROW_BYTES = 64 * 1024;

/** What is stored takes at least this part of its size as JSON text: arrays of short numbers the least. */
const DENSEST = 4;

/** A name that no column has: in the scope of a subquery a column would win over the alias, and one of its fields be taken for the row. */
function aliasFor(columns: readonly string[]): string {
  let alias = 'whole_row';
  while (columns.includes(alias)) alias += '_';
  return alias;
}

/** One row of `t` as JSON text, without seq and tx. Postgres encodes it; nobody encodes it again. */
function json({ columns }: Stream): string {
  const row = aliasFor(columns);
  return `(SELECT row_to_json(${row})::text FROM (SELECT ${columns.map((column) => `t.${column}`).join(', ')}) ${row})`;
}

const sum = (terms: readonly string[]) => (terms.length === 0 ? '0' : terms.join(' + '));

/** The length of the columns, as far as it is known without reading what is stored elsewhere. */
function sizeOf({ text_columns: text, binary_columns: binary, other_columns: other }: Stream): string {
  return sum([
    ...[...text, ...binary].map((column) => `coalesce(octet_length(t.${column}), 0)::bigint`),
    ...other.map((column) => `coalesce(pg_column_size(t.${column}), 0)::bigint`),
  ]);
}

/**
 * The least that the row takes as JSON text. What is stored may be compressed a hundredfold; as a field of a row value it
 * is not, and to unpack it costs little beside encoding it.
 */
function leastOf({ text_columns: text, binary_columns: binary, other_columns: other }: Stream): string {
  const unpacked = (column: string) =>
    `CASE WHEN pg_column_size(t.${column}) > ${TAIL_ROW_BYTES} THEN pg_column_size(ROW(t.${column})) ELSE 0 END`;
  return sum([
    ...text.map((column) => `coalesce(octet_length(t.${column}), 0)::bigint`),
    ...binary.map((column) => `2 * coalesce(octet_length(t.${column}), 0)::bigint`),
    ...other.map((column) => `(${unpacked(column)})::bigint / ${DENSEST}`),
  ]);
}

/** The same, unless it is large. */
function jsonOfSmall(stream: Stream): string {
  return `CASE WHEN ${sizeOf(stream)} <= ${TAIL_ROW_BYTES} THEN ${json(stream)} END`;
}

/** The same, unless it has more than `limit` bytes: what is sure to have more is not even made. */
function jsonWithin(stream: Stream, limit: string): string {
  return `CASE WHEN ${leastOf(stream)} <= ${limit} THEN (
              SELECT CASE WHEN octet_length(made.json) <= ${limit} THEN made.json END FROM (SELECT ${json(stream)} AS json OFFSET 0) made) END`;
}

function type({ key_type: keyType }: Stream): string {
  return keyType === 'varchar' ? 'text' : keyType;
}

/** A stream, and whether the text of its rows comes along, or only where they stand. */
export interface Reading {
  readonly stream: Stream;
  readonly texts: boolean;
}

/**
 * The rows of every stream that became visible since snapshot $1: those whose transaction began after it (bounded
 * from above, because a restored row carries the number of a transaction of another cluster), and those whose
 * transaction was in progress then and has ended since. One that is still open is looked for when it ends, so that
 * it delays nobody, and its rows cost nothing until then.
 */
function fresh(readings: readonly Reading[]): string {
  const none =
    'SELECT NULL::int AS stream_id, NULL::text AS key, NULL::bigint AS seq, NULL::xid8 AS tx, NULL::text AS json WHERE false';
  const scans = readings.map(({ stream: s, texts }) => {
    const text = texts ? jsonOfSmall(s) : 'NULL';
    const scan = `SELECT ${s.id}, t.${s.key}::text, t.seq, t.tx, ${text} FROM ${s.relation} t WHERE t.tx`;
    return `
    ${scan} >= pg_snapshot_xmax($1::pg_snapshot) AND t.tx < pg_snapshot_xmax(pg_current_snapshot())
    UNION ALL
    ${scan} = ANY ((SELECT ended FROM waited_for)::xid8[])`;
  });
  return [none, ...scans].join('\n    UNION ALL');
}

const WAITED_FOR = `waited_for AS MATERIALIZED (SELECT ARRAY(
      SELECT x FROM pg_snapshot_xip($1::pg_snapshot) x WHERE pg_visible_in_snapshot(x, pg_current_snapshot())) AS ended)`;

/**
 * What became visible since snapshot $1, and the snapshot it was read in: one row per event, at most TAIL_ROWS + 1,
 * in no order. An event has no json where the events together would be too large to come along.
 */
export function tailStatement(readings: readonly Reading[]): string {
  return `
    WITH ${WAITED_FOR}
    SELECT pg_current_snapshot()::text AS snapshot, c.revision, f.stream_id, s.epoch, f.key, f.seq, f.tx,
           CASE WHEN f.bytes <= ${TAIL_BYTES} THEN f.json END AS json
      FROM rowcast.catalog c LEFT JOIN (
        SELECT *, sum(octet_length(json)) OVER (ROWS UNBOUNDED PRECEDING) AS bytes FROM (
    ${fresh(readings)}
        LIMIT ${TAIL_ROWS + 1}) f) f ON true
      LEFT JOIN rowcast.streams s USING (stream_id)`;
}

/** The same, where the events are too many: one row per channel, with the seq of its last new event. */
export function headsStatement(readings: readonly Reading[]): string {
  return `
    WITH ${WAITED_FOR}
    SELECT pg_current_snapshot()::text AS snapshot, c.revision, f.stream_id, s.epoch, f.key, f.seq, f.tx, NULL AS json
      FROM rowcast.catalog c LEFT JOIN (
        SELECT stream_id, key, max(seq) AS seq, NULL AS tx FROM (
    ${fresh(readings.map(({ stream }) => ({ stream, texts: false })))}) f
        GROUP BY stream_id, key LIMIT ${MOVED_CHANNELS + 1}) f ON true
      LEFT JOIN rowcast.streams s USING (stream_id)`;
}

/** Whether the numbers of a stream can be read: of its oldest event, and of what is new since snapshot $1. */
export function probeStatement(s: Stream): string {
  return `
    SELECT count(*) AS rows FROM (
      (SELECT t.${s.key}::text AS key, t.seq, t.tx FROM ${s.relation} t ORDER BY t.tx LIMIT 1)
      UNION ALL
      (SELECT t.${s.key}::text, t.seq, t.tx FROM ${s.relation} t
        WHERE t.tx >= pg_snapshot_xmax($1::pg_snapshot) AND t.tx < pg_snapshot_xmax(pg_current_snapshot())
        LIMIT ${TAIL_ROWS}) OFFSET 0) found
     WHERE found.key IS NOT NULL AND found.seq IS NOT NULL AND found.tx IS NOT NULL`;
}

/** Where the newest event of a stream stands, or an older one. */
export function numbersStatement(s: Stream, offset = 0): string {
  return `SELECT t.${s.key}::text AS key, t.seq, t.tx FROM ${s.relation} t ORDER BY t.tx DESC OFFSET ${offset} LIMIT 1`;
}

/** So many of the newest events of a stream, encoded; of each only the length. */
export function sampleStatement(s: Stream, rows: number, offset: number): string {
  return `
    SELECT t.${s.key}::text AS key, t.seq, octet_length(${json(s)}) AS bytes
      FROM (SELECT * FROM ${s.relation} ORDER BY tx DESC OFFSET ${offset} LIMIT ${rows}) t`;
}

/** The state of the channels with the keys $1, in their order; no row for a key whose parent does not exist. */
export function openStatement(s: Stream): string {
  const parent = s.parent === null ? '' : `WHERE EXISTS (SELECT FROM ${s.parent} p WHERE p.${s.parent_key} = k.key)`;
  return `
    SELECT w.at::int AS at, greatest(c.floor, n.first, 1) AS floor, greatest(n.last, c.floor - 1, 0) AS head,
           (SELECT epoch FROM rowcast.streams WHERE stream_id = ${s.id}) AS epoch
      FROM unnest($1::text[]) WITH ORDINALITY w(text, at)
      CROSS JOIN LATERAL (SELECT w.text::${type(s)} AS key) k
      LEFT JOIN rowcast.channels c ON c.stream_id = ${s.id} AND c.key = w.text
      CROSS JOIN LATERAL (SELECT (SELECT min(t.seq) FROM ${s.relation} t WHERE t.${s.key} = k.key) AS first,
                                 (SELECT max(t.seq) FROM ${s.relation} t WHERE t.${s.key} = k.key) AS last) n
      ${parent}`;
}

/**
 * A page of each channel asked for: key $1[i], after seq $2[i], up to seq $3[i]; of each at least one row, then up
 * to $4 bytes and $5 rows. It walks from row to row, so that not one more is read and encoded than goes out. A row
 * whose text has more than $6 bytes comes without it, and is the last of its page: the sum of bytes has no value then.
 */
export function pageStatement(s: Stream): string {
  const text = jsonWithin(s, '$6::bigint');
  return `
    SELECT w.at::int AS at, (SELECT epoch FROM rowcast.streams WHERE stream_id = ${s.id}) AS epoch, page.seq, page.json
      FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY w(text, after, up_to, at)
      CROSS JOIN LATERAL (SELECT w.text::${type(s)} AS key) k
      CROSS JOIN LATERAL (
        WITH RECURSIVE page AS (
          SELECT first.seq, first.json, octet_length(first.json)::bigint AS bytes FROM (
            SELECT t.seq, ${text} AS json FROM ${s.relation} t
              WHERE t.${s.key} = k.key AND t.seq > w.after AND t.seq <= w.up_to ORDER BY t.seq LIMIT 1) first
          UNION ALL
          SELECT next.seq, next.json, page.bytes + octet_length(next.json) FROM page, LATERAL (
            SELECT t.seq, ${text} AS json FROM ${s.relation} t
              WHERE t.${s.key} = k.key AND t.seq = page.seq + 1 OFFSET 0) next
            WHERE page.bytes < $4 AND page.seq < w.up_to)
        SELECT page.seq, page.json FROM page LIMIT $5) page
     ORDER BY w.at, page.seq`;
}

/** The seq of the first row of the channel with the key $1 after seq $2, and the epoch: what there is of a row whose text cannot be made. */
export function seqStatement(s: Stream): string {
  return `
    SELECT t.seq, (SELECT epoch FROM rowcast.streams WHERE stream_id = ${s.id}) AS epoch
      FROM ${s.relation} t WHERE t.${s.key} = $1::${type(s)} AND t.seq > $2 ORDER BY t.seq LIMIT 1`;
}

/** Channels in the order of their keys, $1 at most; without those whose parent was deleted. */
export function channelsStatement(s: Stream): string {
  const parent =
    s.parent === null ? '' : `AND EXISTS (SELECT FROM ${s.parent} p WHERE p.${s.parent_key} = c.key::${type(s)})`;
  return `
    SELECT '${s.name}:' || c.key AS channel, greatest(
        (SELECT max(t.seq) FROM ${s.relation} t WHERE t.${s.key} = c.key::${type(s)}), c.floor - 1) AS head
      FROM rowcast.channels c WHERE c.stream_id = ${s.id} ${parent} ORDER BY c.key LIMIT $1`;
}
