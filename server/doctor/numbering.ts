import { z } from 'zod';
import { fault, type Outcome, type Probe } from './check.js';

export interface Numbering {
  readonly id: number;
  readonly name: string;
  readonly relation: string;
  readonly key: string;
  readonly seq: string;
  readonly keyType: string;
}

/** The number of channels per stream that are checked, and of the newest seqs in each. */
const SAMPLE = 20;
const NEWEST = 10_000;

const channel = z.object({
  key: z.string(),
  head: z.number().nullable(),
  low: z.number().nullable(),
  count: z.number(),
});

/**
 * Counts rows: between the lowest remaining seq and the highest there must be one row for each seq. The channels are those
 * in the first pages of `rowcast.channels`, which is cheap however many channels there are.
 */
const sample = ({ relation, key, seq, keyType }: Numbering) => `
  SELECT c.key, h.head, l.low, n.count
    FROM (SELECT key, floor FROM rowcast.channels WHERE stream_id = $1 LIMIT ${SAMPLE}) c,
         LATERAL (SELECT max(t.${seq}) AS head FROM ${relation} t WHERE t.${key} = c.key::${keyType}) h,
         LATERAL (SELECT min(t.${seq}) AS low FROM ${relation} t
                   WHERE t.${key} = c.key::${keyType} AND t.${seq} >= greatest(c.floor, h.head - ${NEWEST - 1})) l,
         LATERAL (SELECT count(*) AS count FROM ${relation} t
                   WHERE t.${key} = c.key::${keyType} AND t.${seq} >= l.low) n`;

/** Finds seqs without a row, which rows leave that were written or deleted while the triggers were disabled. */
export async function holesOf(probe: Probe, numbering: Numbering): Promise<{ holes: Outcome[]; channels: number }> {
  const rows = await probe.readAsGateway(channel, sample(numbering), [numbering.id]);
  const broken = rows.filter(({ head, low, count }) => head !== null && low !== null && count !== head - low + 1);
  const holes = broken.map(({ key, head, low, count }) =>
    fault(
      `${numbering.name}:${key} has ${count} rows from ${low} to ${head}: some were written or deleted while the triggers were off`,
      `Readers stop there. If the rows are lost: DELETE FROM ${numbering.relation} WHERE ${numbering.key} = '${key.replaceAll("'", "''")}' AND ${numbering.seq} < <the first after the hole>;`,
    ),
  );
  return { holes, channels: rows.length };
}
