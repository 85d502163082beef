/** Must hold: whatever table of the zoo breaks or heals, at any moment, the others do not notice, and it is complete afterwards. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import fc from 'fast-check';
import type pg from 'pg';
import type { Gateway } from '../../server/gateway.js';
import { runs, seed } from '../property/seed.js';
import { testClient } from '../support/client.js';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { type Follower, follow, seqs } from '../support/follow.js';
import { NO_RATES, startTestGateway } from '../support/gateway.js';
import { makeTroubled, statement, streamTroubles, type Trouble } from '../support/troubles.js';
import { Witness } from '../support/witness.js';
import { connectWriter } from '../support/writer.js';

const TABLES = 3;
const RUNS = runs(8);

/** Most events of the witness come within this time, in milliseconds; one that meets a table as it breaks may wait longer. */
const USUAL = 500;
const LONGEST = 4_000;

let database: TestDatabase;
let gateway: Gateway;
let writer: pg.Client;
let breakers: pg.Client[];

beforeAll(async () => {
  database = await createDatabase();
  writer = await connectWriter(database.url);
  breakers = await Promise.all(Array.from({ length: TABLES }, () => connectWriter(database.url)));
  gateway = await startTestGateway(database.url, { ...NO_RATES, ROWCAST_LOG_LEVEL: process.env.ZOO_LOG ?? 'silent' });
});
afterAll(async () => {
  await gateway.stop();
  await Promise.all([writer, ...breakers].map((connection) => connection.end()));
  await database.drop();
});

type Step =
  | { readonly do: 'break'; readonly table: number; readonly trouble: number }
  | { readonly do: 'heal'; readonly table: number }
  | { readonly do: 'write'; readonly table: number; readonly rows: number }
  | { readonly do: 'tick' };

const table = fc.nat(TABLES - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('break' as const), table, trouble: fc.nat(streamTroubles.length - 1) }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('heal' as const), table }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('write' as const), table, rows: fc.constantFrom(1, 3, 700) }) },
  { weight: 4, arbitrary: fc.constant({ do: 'tick' as const }) },
);

interface Animal {
  readonly name: string;
  readonly reader: Follower;
  readonly breaker: pg.Client;
  trouble: Trouble | null;
  written: number;
}

test('I2 I3 I9: one table breaks or heals at any moment: the witness is complete and in time, the table complete when it is mended', async () => {
  let run = 0;
  const property = fc.asyncProperty(fc.array(step, { minLength: 15, maxLength: 40 }), async (steps) => {
    run += 1;
    const client = testClient({ url: gateway.url });
    const witness = new Witness(client, writer, `run ${run}`);
    const animals: Animal[] = [];
    for (const [index, breaker] of breakers.entries()) {
      const name = `run_${run}_${index}`;
      await makeTroubled(writer, name);
      animals.push({ name, reader: follow(client, `${name}:a`), breaker, trouble: null, written: 0 });
    }
    for (const { reader } of animals) await reader.live();
    const heal = async (animal: Animal) => {
      if (animal.trouble === null) return;
      await animal.breaker.query(statement(animal.trouble.heals, animal.name));
      animal.trouble = null;
    };
    try {
      for (const now of steps) {
        if (now.do === 'tick') {
          await witness.tick(10_000);
          continue;
        }
        const animal = animals[now.table];
        if (animal === undefined) continue;
        if (now.do === 'heal') await heal(animal);
        else if (now.do === 'break' && animal.trouble === null) {
          const trouble = streamTroubles[now.trouble] ?? null;
          if (trouble !== null) await animal.breaker.query(statement(trouble.breaks, animal.name));
          animal.trouble = trouble;
        } else if (now.do === 'write' && !animal.trouble?.noWrites) {
          await writer.query(`INSERT INTO ${animal.name} (id, v) SELECT 'a', i FROM generate_series(1, $1::int) i`, [
            now.rows,
          ]);
          animal.written += now.rows;
        }
      }
    } finally {
      for (const animal of animals) await heal(animal);
    }
    for (const animal of animals) {
      await writer.query(`INSERT INTO ${animal.name} (id, v) VALUES ('a', 0)`);
      animal.written += 1;
      await animal.reader.count(animal.written, 40_000);
      expect(animal.reader.events.map(({ seq }) => seq)).toEqual(seqs(1, animal.written));
      expect(animal.reader.resets).toEqual([]);
    }
    await witness.tick(10_000);
    witness.check();
    const sorted = witness.latencies.toSorted((one, other) => one - other);
    expect(sorted.at(-1)).toBeLessThan(LONGEST);
    expect(sorted[Math.floor(sorted.length / 2)]).toBeLessThan(USUAL);
    client.close();
    for (const { name } of animals) await writer.query(`SELECT rowcast.detach($1); `, [name]);
    for (const { name } of animals) await writer.query(`DROP TABLE ${name}`);
  });
  await fc.assert(property, { seed: seed('zoo'), numRuns: RUNS, endOnFailure: true });
}, 400_000);
