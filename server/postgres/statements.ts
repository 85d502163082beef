/**
 * The SQL that reads streams: the tail, the state of channels, pages, and probes of single streams. The statements are made
 * for the columns of each table. PostgreSQL encodes the rows as JSON, and each statement bounds how much it reads and encodes.
 */
import { createHash } from 'node:crypto';
import { RowTexts } from '../ports/row-texts.js';
import type { Statement } from './rows.js';
import type { Stream } from './streams.js';

/** Returns a statement to be prepared under a name that depends on its text. */
export function named(text: string): Statement {
  return { name: createHash('sha1').update(text).digest('hex').slice(0, 16), text };
}

/** Returns a function that makes the statement of each stream once: the texts are long. */
export function ofStream(make: (stream: Stream) => string): (stream: Stream) => Statement {
  const made = new WeakMap<Stream, Statement>();
  return (stream) => {
    const statement = made.get(stream) ?? named(make(stream));
    made.set(stream, statement);
    return statement;
  };
}

/** How much one read of the tail returns at most. Rows that may have more than `rowBytes` are not encoded by it, because every channel waits. */
export interface TailSize {
  readonly rows: number;
  /** Of the texts. */
  readonly bytes: number;
  readonly rowBytes: number;
}

const KIB = 1024;

/** The usual read. If there are more rows, the tail reads many small ones, and if there are still more, the heads of their channels alone. */
export const FEW: TailSize = { rows: 500, bytes: 1024 * KIB, rowBytes: 64 * KIB };
export const MANY: TailSize = { rows: 4_000, bytes: 4096 * KIB, rowBytes: 4 * KIB };

/** Maximum number of channels that one read of the tail returns. Beyond it the hub reads the state of all its channels. */
export const MOVED_CHANNELS = 10_000;

/** Stored values that are larger than this, in bytes, are decompressed to find their size. */
const LARGE_VALUE = 64 * KIB;

/** The JSON text of a value has at least its stored size divided by this: the densest are arrays of short numbers. */
const DENSEST = 4;

/** Counts as the size of an event that is not sent, so that it ends its page: more than a page may have, and few enough to add up. */
const ENDS_A_PAGE = 2 ** 30;

/** Between the texts of events: a control character, which JSON does not contain unless it is escaped. */
const SEPARATOR = '\x1e';
const SEPARATOR_SQL = String.raw`E'\x1e'`;

/** Takes apart the texts that a statement has joined: the rows from `seq` on, up to the first that is not sent, whose text is empty. */
export function rowsFrom(seq: number, texts: string): RowTexts | null {
  return RowTexts.split(seq, texts, SEPARATOR);
}

/** Returns an alias that is not the name of a column: in a subquery the column would take precedence over the alias of the row. */
function aliasFor(columns: readonly string[]): string {
  let alias = 'whole_row';
  while (columns.includes(alias)) alias += '_';
  return alias;
}

/** SQL: one row of `t` as JSON text, without seq and tx. */
function json({ columns }: Stream): string {
  const row = aliasFor(columns);
  return `(SELECT row_to_json(${row})::text FROM (SELECT ${columns.map((column) => `t.${column}`).join(', ')}) ${row})`;
}

const sum = (terms: readonly string[]) => (terms.length === 0 ? '0' : terms.join(' + '));

/** SQL: the size of the columns in bytes, as far as it is known without reading TOASTed values. */
function sizeOf({ text_columns: text, binary_columns: binary, other_columns: other }: Stream): string {
  return sum([
    ...[...text, ...binary].map((column) => `coalesce(octet_length(t.${column}), 0)::bigint`),
    ...other.map((column) => `coalesce(pg_column_size(t.${column}), 0)::bigint`),
  ]);
}

/**
 * SQL: the minimum size of the row as JSON text, in bytes. Stored values may be compressed by a factor of a hundred. In a row
 * value they are decompressed, which is cheap compared with encoding them.
 */
function leastOf({ text_columns: text, binary_columns: binary, other_columns: other }: Stream): string {
  const unpacked = (column: string) =>
    `CASE WHEN pg_column_size(t.${column}) > ${LARGE_VALUE} THEN pg_column_size(ROW(t.${column})) ELSE 0 END`;
  return sum([
    ...text.map((column) => `coalesce(octet_length(t.${column}), 0)::bigint`),
    ...binary.map((column) => `2 * coalesce(octet_length(t.${column}), 0)::bigint`),
    ...other.map((column) => `(${unpacked(column)})::bigint / ${DENSEST}`),
  ]);
}

/** SQL: the JSON text of the row, or NULL if it may have more than `limit` bytes. */
function jsonOfSmall(stream: Stream, limit: number): string {
  return `CASE WHEN ${sizeOf(stream)} <= ${limit} THEN ${json(stream)} END`;
}

/** SQL: the JSON text of the row, or NULL if it has more than `limit` bytes. A row that certainly has more is not encoded. */
function jsonWithin(stream: Stream, limit: string): string {
  return `CASE WHEN ${leastOf(stream)} <= ${limit} THEN (
              SELECT CASE WHEN octet_length(made.json) <= ${limit} THEN made.json END FROM (SELECT ${json(stream)} AS json OFFSET 0) made) END`;
}

function type({ key_type: keyType }: Stream): string {
  return keyType === 'varchar' ? 'text' : keyType;
}

/** A stream to be read: with the texts of its rows, or with their seqs only. */
export interface Reading {
  readonly stream: Stream;
  readonly texts: boolean;
}

/**
 * SQL: the rows of all streams that became visible since the snapshot $1. These are the rows of transactions that began
 * after it (with an upper bound, because a restored row has the transaction number of another cluster), and of transactions
 * that were in progress then and have ended since. A transaction that is still open is read after it has ended. Until then it
 * delays no other event and costs nothing.
 */
function fresh(readings: readonly Reading[], rowBytes: number): string {
  const none =
    'SELECT NULL::int AS stream_id, NULL::text AS key, NULL::bigint AS seq, NULL::xid8 AS tx, NULL::text AS json WHERE false';
  const scans = readings.map(({ stream: s, texts }) => {
    const text = texts ? jsonOfSmall(s, rowBytes) : 'NULL';
    return `
        SELECT ${s.id}, t.${s.key}::text, t.${s.seq}, t.${s.tx}, ${text} FROM ${s.relation} t
          WHERE t.${s.tx} >= ended.low AND t.${s.tx} <= ended.high AND t.${s.tx} < pg_snapshot_xmax(pg_current_snapshot())`;
  });
  // Each scan costs time even if it finds nothing, so that each table has one. OFFSET 0 keeps it a scan per range, by the index.
  return `
      SELECT fresh.* FROM ended CROSS JOIN LATERAL (${[none, ...scans].join('\n        UNION ALL')}
        OFFSET 0) fresh`;
}

/** SQL: ranges of the transactions that have ended since the snapshot $1: all those that began after it, and each one that was in progress then. */
const ENDED = `ended AS MATERIALIZED (
      SELECT pg_snapshot_xmax($1::pg_snapshot) AS low, pg_snapshot_xmax(pg_current_snapshot()) AS high
      UNION ALL
      SELECT x, x FROM pg_snapshot_xip($1::pg_snapshot) x WHERE pg_visible_in_snapshot(x, pg_current_snapshot()))`;

/** SQL: the epoch of the stream of `f`. */
const EPOCH = '(SELECT s.epoch FROM rowcast.streams s WHERE s.stream_id = f.stream_id) AS epoch';

/**
 * Reads the events that became visible since the snapshot $1, and the snapshot of the statement: one row per event, in no order,
 * and one more than `size` has if there are too many. `json` is NULL for events beyond the size.
 */
export function tailStatement(readings: readonly Reading[], { rows, bytes, rowBytes }: TailSize): string {
  return `
    WITH ${ENDED}
    SELECT (SELECT pg_current_snapshot()::text) AS snapshot, c.revision, f.stream_id, ${EPOCH}, f.key, f.seq, f.tx,
           CASE WHEN f.bytes <= ${bytes} THEN f.json END AS json
      FROM rowcast.catalog c LEFT JOIN (
        SELECT *, sum(octet_length(json)) OVER (ROWS UNBOUNDED PRECEDING) AS bytes FROM (
    ${fresh(readings, rowBytes)}
        LIMIT ${rows + 1}) f) f ON true`;
}

/** The same for too many events: one row per channel, with the seq of its last new event. */
export function headsStatement(readings: readonly Reading[]): string {
  return `
    WITH ${ENDED}
    SELECT (SELECT pg_current_snapshot()::text) AS snapshot, c.revision, f.stream_id, ${EPOCH}, f.key, f.seq, f.tx, NULL AS json
      FROM rowcast.catalog c LEFT JOIN (
        SELECT stream_id, key, max(seq) AS seq, NULL AS tx FROM (
    ${fresh(
      readings.map(({ stream }) => ({ stream, texts: false })),
      0,
    )}) f
        GROUP BY stream_id, key LIMIT ${MOVED_CHANNELS + 1}) f ON true`;
}

/** Reads the numbers of a stream, to find out whether that succeeds: of its oldest event, and of those since the snapshot $1. */
export function probeStatement(s: Stream): string {
  return `
    SELECT count(*) AS rows FROM (
      (SELECT t.${s.key}::text AS key, t.${s.seq} AS seq, t.${s.tx} AS tx FROM ${s.relation} t ORDER BY t.${s.tx} LIMIT 1)
      UNION ALL
      (SELECT t.${s.key}::text, t.${s.seq}, t.${s.tx} FROM ${s.relation} t
        WHERE t.${s.tx} >= pg_snapshot_xmax($1::pg_snapshot) AND t.${s.tx} < pg_snapshot_xmax(pg_current_snapshot())
        LIMIT ${FEW.rows}) OFFSET 0) found
     WHERE found.key IS NOT NULL AND found.seq IS NOT NULL AND found.tx IS NOT NULL`;
}

/** Reads the key, seq and tx of the newest event of a stream, or of an older one. */
export function numbersStatement(s: Stream, offset = 0): string {
  return `SELECT t.${s.key}::text AS key, t.${s.seq} AS seq, t.${s.tx} AS tx FROM ${s.relation} t ORDER BY t.${s.tx} DESC OFFSET ${offset} LIMIT 1`;
}

/** Encodes some of the newest events of a stream, and returns their sizes. */
export function sampleStatement(s: Stream, rows: number, offset: number): string {
  return `
    SELECT t.${s.key}::text AS key, t.${s.seq} AS seq, octet_length(${json(s)}) AS bytes
      FROM (SELECT * FROM ${s.relation} ORDER BY ${s.tx} DESC OFFSET ${offset} LIMIT ${rows}) t`;
}

/** Reads the state of the channels with the keys $1, in their order. There is no row for a key whose parent does not exist. */
export function openStatement(s: Stream): string {
  const parent = s.parent === null ? '' : `WHERE EXISTS (SELECT FROM ${s.parent} p WHERE p.${s.parent_key} = k.key)`;
  return `
    SELECT w.at::int AS at, greatest(c.floor, n.first, 1) AS floor, greatest(n.last, c.floor - 1, 0) AS head,
           (SELECT epoch FROM rowcast.streams WHERE stream_id = ${s.id}) AS epoch
      FROM unnest($1::text[]) WITH ORDINALITY w(text, at)
      CROSS JOIN LATERAL (SELECT w.text::${type(s)} AS key) k
      LEFT JOIN rowcast.channels c ON c.stream_id = ${s.id} AND c.key = w.text
      CROSS JOIN LATERAL (SELECT (SELECT min(t.${s.seq}) FROM ${s.relation} t WHERE t.${s.key} = k.key) AS first,
                                 (SELECT max(t.${s.seq}) FROM ${s.relation} t WHERE t.${s.key} = k.key) AS last) n
      ${parent}`;
}

/**
 * Reads one page for each requested channel: key $1[i], after seq $2[i], up to seq $3[i]. A page is one row, with the seq of its
 * first event and the texts of all of them. It has at least one event, and then up to $4 bytes and $5 events with consecutive
 * seqs. An event whose text has more than $6 bytes has an empty one, and ends its page. PostgreSQL stops at the first event for
 * which `stops` is not 0. Each level keeps the order of the index: a sort would encode all events first.
 */
export function pageStatement(s: Stream): string {
  return `
    SELECT w.at::int AS at, (SELECT epoch FROM rowcast.streams WHERE stream_id = ${s.id}) AS epoch, first.seq, page.texts
      FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY w(text, after, up_to, at)
      CROSS JOIN LATERAL (SELECT w.text::${type(s)} AS key) k
      CROSS JOIN LATERAL (SELECT t.${s.seq} AS seq FROM ${s.relation} t
        WHERE t.${s.key} = k.key AND t.${s.seq} > w.after AND t.${s.seq} <= w.up_to ORDER BY t.${s.seq} LIMIT 1) first
      CROSS JOIN LATERAL (
        SELECT string_agg(coalesce(json, ''), ${SEPARATOR_SQL}) AS texts FROM (
          SELECT seq, json, count(*) FILTER (WHERE step > 1 OR before >= $4) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) AS stops FROM (
            SELECT seq, json, seq - lag(seq) OVER sofar AS step, sum(bytes) OVER sofar - bytes AS before FROM (
              SELECT seq, json, coalesce(octet_length(json), ${ENDS_A_PAGE}) AS bytes FROM (
                SELECT t.${s.seq} AS seq, ${jsonWithin(s, '$6::bigint')} AS json FROM (
                  SELECT * FROM ${s.relation} t
                   WHERE t.${s.key} = k.key AND t.${s.seq} >= first.seq AND t.${s.seq} <= w.up_to AND t.${s.seq} < first.seq + $5
                   ORDER BY t.${s.seq} OFFSET 0) t ORDER BY t.${s.seq} OFFSET 0) made) sized
            WINDOW sofar AS (ORDER BY seq ROWS UNBOUNDED PRECEDING)) page) counted WHERE stops < 1) page
     ORDER BY w.at`;
}

/** Reads the seq of the first row of the channel $1 after the seq $2, and the epoch. It works for rows that cannot be encoded. */
export function seqStatement(s: Stream): string {
  return `
    SELECT t.${s.seq} AS seq, (SELECT epoch FROM rowcast.streams WHERE stream_id = ${s.id}) AS epoch
      FROM ${s.relation} t WHERE t.${s.key} = $1::${type(s)} AND t.${s.seq} > $2 ORDER BY t.${s.seq} LIMIT 1`;
}

/** Lists at most $1 channels in the order of their keys, without those whose parent was deleted. */
export function channelsStatement(s: Stream): string {
  const parent =
    s.parent === null ? '' : `AND EXISTS (SELECT FROM ${s.parent} p WHERE p.${s.parent_key} = c.key::${type(s)})`;
  return `
    SELECT '${s.name}:' || c.key AS channel, greatest(
        (SELECT max(t.${s.seq}) FROM ${s.relation} t WHERE t.${s.key} = c.key::${type(s)}), c.floor - 1) AS head
      FROM rowcast.channels c WHERE c.stream_id = ${s.id} ${parent} ORDER BY c.key LIMIT $1`;
}

/** Reads the position of the channel $1 in the snapshot of the statement. */
export const POSITION = 'SELECT rowcast.head_of($1) AS position';

/**
 * Reads the present rows of the channel $1 with the key $2, and its position at the same moment: at most $4 rows with $5 bytes
 * of JSON, and at least one. Of a tracked table those after the identity $3, else the newest events. The first row comes without
 * its text if that has more than $6 bytes, which neither the driver nor V8 may be able to carry; such a row ends the page before it.
 */
export function rowsStatement(s: Stream): string {
  const rows = s.tracked
    ? `SELECT f.id, CASE WHEN octet_length(f."row"::text) <= $6::bigint THEN f."row"::text END AS json, row_number() OVER () AS nth
         FROM rowcast."${s.name}_rows"($2, $3, $4) f`
    : `SELECT t.${s.seq}::text AS id, ${jsonWithin(s, '$6::bigint')} AS json, row_number() OVER (ORDER BY t.${s.seq} DESC) AS nth
         FROM ${s.relation} t WHERE t.${s.key} = $2::${type(s)} AND $3::text IS NULL ORDER BY t.${s.seq} DESC LIMIT $4`;
  return `
    WITH here AS MATERIALIZED (SELECT rowcast.head_of($1) AS position)
    SELECT here.position, r.id, r.json, coalesce(r.total, 0)::int AS total FROM here LEFT JOIN (
      SELECT q.*, sum(coalesce(octet_length(q.json), $5::bigint + 1)) OVER (ORDER BY q.nth) AS bytes, count(*) OVER () AS total FROM (${rows}) q) r
        ON r.nth = 1 OR r.bytes <= $5
     ORDER BY r.nth ${s.tracked ? '' : 'DESC'}`;
}
