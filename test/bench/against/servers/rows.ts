/**
 * The rows of the table `notify`, in the payloads of NOTIFY; what does not fit into one is read by its id. `on` and `off` on
 * standard input begin and end to listen, so that a peer does nothing in the turns of the others.
 */
import { createInterface } from 'node:readline';
import pg from 'pg';

const QUERY = { name: 'row', text: 'SELECT row_to_json(notify)::text AS row FROM notify WHERE id = $1' };

export async function listen(url: string, onRow: (row: string) => void): Promise<void> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  let last: Promise<void> | undefined;
  const read = async (id: string) => {
    const { rows } = await client.query<{ row: string }>({ ...QUERY, values: [id] });
    for (const { row } of rows) onRow(row);
  };
  client.on('notification', ({ payload = '' }) => {
    const whole = payload.startsWith('{');
    if (whole && last === undefined) return onRow(payload);
    // After those that are being read: they keep their order.
    const next = (last ?? Promise.resolve()).then(() => (whole ? onRow(payload) : read(payload)));
    last = next;
    void next.finally(() => {
      if (last === next) last = undefined;
    });
  });
  createInterface({ input: process.stdin })
    .on('line', (line) => void client.query(line === 'on' ? 'LISTEN rows' : 'UNLISTEN rows'))
    .on('close', () => process.exit());
}
