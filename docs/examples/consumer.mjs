// Processes each event of a channel exactly once, over crashes and restarts. Run it as
//   DATABASE_URL=postgres://… node consumer.mjs orders:7
import pg from 'pg';
import { createClient } from 'rowcast/client';

const NAME = 'invoices';
const channel = process.argv[2] ?? 'orders:7';
const url = process.env.ROWCAST_URL ?? 'http://127.0.0.1:4400';

const db = new pg.Client(process.env.DATABASE_URL);
await db.connect();
await db.query(`
  CREATE TABLE IF NOT EXISTS invoices (order_id bigint, seq bigint, PRIMARY KEY (order_id, seq));
  CREATE TABLE IF NOT EXISTS consumer_positions (
    consumer text, channel text, position text NOT NULL, PRIMARY KEY (consumer, channel)
  )`);
await db.query(`INSERT INTO consumer_positions VALUES ($1, $2, 'start') ON CONFLICT DO NOTHING`, [NAME, channel]);
const stored = 'SELECT position FROM consumer_positions WHERE consumer = $1 AND channel = $2';
let { position } = (await db.query(stored, [NAME, channel])).rows[0];

const { ROWCAST_TOKEN: token } = process.env;
const client = createClient({ url, ...(token && { token }) });
const subscription = client.subscribe(channel, {
  since: position,
  onReset: ({ reason }) => fail(`events are missing (${reason}): load a snapshot and store its position`),
});

// One event at a time. The gateway keeps nothing for this reader: a slow consumer only falls behind.
for await (const event of subscription) {
  await db.query('BEGIN');
  // Only if the position is still the one that was read: a second process of this name would repeat the work.
  const move = `UPDATE consumer_positions SET position = $4 WHERE consumer = $1 AND channel = $2 AND position = $3`;
  const { rowCount } = await db.query(move, [NAME, channel, position, event.position]);
  if (rowCount !== 1) fail(`another process consumes ${channel} as ${NAME}`);
  if (event.type === 'paid') {
    await db.query('INSERT INTO invoices VALUES ($1, $2)', [event.row.order_id, event.seq]);
  }
  await db.query('COMMIT');
  position = event.position;
  console.log(`${event.seq} ${event.type} done`);
}

function fail(reason) {
  console.error(reason);
  process.exit(1); // an open transaction is rolled back
}
