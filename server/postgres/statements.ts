import type { Stream } from './streams.js';

/** Rows, and bytes of them, that may come along with a read of the tail; what is more is read as pages. */
const INLINE_ROWS = 500;
const INLINE_BYTES = 1024 * 1024;

/** Channels that one read of the tail may name; beyond that the hub asks for the state of its own channels. */
export const MOVED_CHANNELS = 10_000;

/** One row of `t` as JSON text, without seq and tx. Postgres encodes it; nobody encodes it again. */
function json({ columns }: Stream): string {
  return `(SELECT row_to_json(r)::text FROM (SELECT ${columns.map((column) => `t.${column}`).join(', ')}) r)`;
}

function type({ key_type: keyType }: Stream): string {
  return keyType === 'varchar' ? 'text' : keyType;
}

/**
 * What became visible since snapshot $1, read in one snapshot, which is returned. A row became visible if its
 * transaction began after the last read, or was in progress then and has ended since. One that is still open is
 * looked for when it ends, so it delays nobody, and its rows cost nothing until then.
 *
 * Each row of the result names a channel and its head; with seq and json it also carries one new event.
 */
export function tailStatement(streams: readonly Stream[]): string {
  const none = 'SELECT NULL::int AS stream_id, NULL::text AS key, NULL::bigint AS seq, NULL::xid8 AS tx WHERE false';
  const fresh = streams.map(
    (s) => `
    SELECT ${s.id}, t.${s.key}::text, t.seq, t.tx FROM ${s.relation} t
      WHERE t.tx >= (SELECT low FROM read) AND t.tx < (SELECT high FROM read)
    UNION ALL
    SELECT ${s.id}, t.${s.key}::text, t.seq, t.tx FROM ${s.relation} t
      WHERE t.tx = ANY ((SELECT ended FROM read)::xid8[])`,
  );
  // OFFSET 0 keeps the planner from turning the look-up of a few rows into a scan of the whole table.
  const bodies = streams.map(
    (s) => `
    SELECT f.stream_id, f.key, f.seq, b.json FROM few, fresh f, LATERAL (
      SELECT ${json(s)} AS json FROM ${s.relation} t WHERE t.${s.key} = f.key::${type(s)} AND t.seq = f.seq OFFSET 0) b
      WHERE f.stream_id = ${s.id}`,
  );
  return `
    WITH read AS MATERIALIZED (
      SELECT n.now, pg_snapshot_xmax($1::pg_snapshot) AS low, pg_snapshot_xmax(n.now) AS high,
             ARRAY(SELECT x FROM pg_snapshot_xip($1::pg_snapshot) x WHERE pg_visible_in_snapshot(x, n.now)) AS ended
        FROM (SELECT pg_current_snapshot() AS now) n),
    fresh AS MATERIALIZED (${[none, ...fresh].join('\n    UNION ALL')}),
    moved AS (SELECT stream_id, key, max(seq) AS head FROM fresh GROUP BY stream_id, key LIMIT ${MOVED_CHANNELS + 1}),
    few AS (SELECT FROM fresh HAVING count(*) <= ${INLINE_ROWS}),
    body AS (SELECT * FROM (
      SELECT stream_id, key, seq, json, sum(octet_length(json)) OVER (ORDER BY stream_id, key, seq) AS bytes
        FROM (${[`${none.replace('NULL::xid8 AS tx', 'NULL::text AS json')}`, ...bodies].join('\n    UNION ALL')}) b
      ) b WHERE bytes <= ${INLINE_BYTES})
    SELECT read.now::text AS snapshot, (SELECT revision FROM rowcast.catalog) AS revision,
           (SELECT count(DISTINCT tx) FROM fresh) AS commits, m.stream_id, m.key, m.head, b.seq, b.json
      FROM read LEFT JOIN moved m ON true LEFT JOIN body b USING (stream_id, key)
     ORDER BY m.stream_id, m.key, b.seq`;
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
 * to $4 bytes and $5 rows. It walks from row to row, so that not one more is read and encoded than goes out.
 */
export function pageStatement(s: Stream): string {
  return `
    SELECT w.at::int AS at, page.seq, page.json
      FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY w(text, after, up_to, at)
      CROSS JOIN LATERAL (SELECT w.text::${type(s)} AS key) k
      CROSS JOIN LATERAL (
        WITH RECURSIVE page AS (
          SELECT first.seq, first.json, octet_length(first.json)::bigint AS bytes FROM (
            SELECT t.seq, ${json(s)} AS json FROM ${s.relation} t
              WHERE t.${s.key} = k.key AND t.seq > w.after AND t.seq <= w.up_to ORDER BY t.seq LIMIT 1) first
          UNION ALL
          SELECT next.seq, next.json, page.bytes + octet_length(next.json) FROM page, LATERAL (
            SELECT t.seq, ${json(s)} AS json FROM ${s.relation} t
              WHERE t.${s.key} = k.key AND t.seq = page.seq + 1 OFFSET 0) next
            WHERE page.bytes < $4 AND page.seq < w.up_to)
        SELECT page.seq, page.json FROM page LIMIT $5) page
     ORDER BY w.at, page.seq`;
}

/** Channels in the order of their keys, $1 at most. */
export function channelsStatement(s: Stream): string {
  return `
    SELECT '${s.name}:' || c.key AS channel, greatest(
        (SELECT max(t.seq) FROM ${s.relation} t WHERE t.${s.key} = c.key::${type(s)}), c.floor - 1) AS head
      FROM rowcast.channels c WHERE c.stream_id = ${s.id} ORDER BY c.key LIMIT $1`;
}
