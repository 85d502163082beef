/**
 * Tables of every odd sort that people have. Each is attached as a stream of its own, beside one stream that is
 * watched: whatever one table does, the witness misses nothing.
 */
import type pg from 'pg';

export interface Species {
  /** Also the name of its stream. */
  readonly name: string;
  readonly setUp: string;
  /** As SQL names it; left out: the name. */
  readonly table?: string;
  /** Names for the columns seq and tx, as options of `attach`. */
  readonly numbers?: { readonly seq: string; readonly tx: string };
  /** Left out: `id`, which is 'a'. */
  readonly key?: string;
  /** What `VALUES` takes for one row, or a whole statement. */
  readonly insert: string;
  /** The key of that row as the channel names it; left out: 'a'. */
  readonly channelKey?: string;
  /** The earliest PostgreSQL that has it. */
  readonly since?: number;
}

const one = (name: string, type: string, value: string, more = ''): Species => ({
  name,
  setUp: `${more}; CREATE TABLE ${name} (id text NOT NULL, v ${type})`,
  insert: `INSERT INTO ${name} (id, v) VALUES ('a', ${value})`,
});

const NUMBERS = Array.from({ length: 1_590 }, (_, index) => `c${index}`);

/** Values of every kind of type. */
const types: readonly Species[] = [
  one('composite', 'composite_pair', `ROW(1, 'two')`, 'CREATE TYPE composite_pair AS (x int, y text)'),
  one('composite_named_t', 't', `ROW(1, 'two')`, 'CREATE TYPE t AS (key text, seq text)'),
  one('ranges', 'tstzrange', `'[2026-01-01,2026-02-01)'`),
  one('multiranges', 'int4multirange', `'{[1,3),[5,8)}'`),
  one('domains', 'positive', '7', 'CREATE DOMAIN positive AS int CHECK (VALUE > 0)'),
  one('domain_text', 'shout', `'HI'`, `CREATE DOMAIN shout AS text CHECK (VALUE = upper(VALUE))`),
  one('domain_of_domain', 'louder', `'HI'`, 'CREATE DOMAIN loud AS text; CREATE DOMAIN louder AS loud'),
  one('arrays', 'int[]', `'{{1,2},{3,4}}'`),
  one('array_of_composites', 'cell[]', `ARRAY[ROW(1, NULL)::cell]`, 'CREATE TYPE cell AS (x int, y text)'),
  one('enums', 'mood', `'so-so'`, `CREATE TYPE mood AS ENUM ('good', 'so-so')`),
  one('xmls', 'xml', `'<a b="1">text</a>'`),
  one('hstores', 'hstore', `'a=>1, b=>NULL'`, 'CREATE EXTENSION hstore'),
  one('citexts', 'citext', `'MiXed'`, 'CREATE EXTENSION citext'),
  one('ltrees', 'ltree', `'top.science.astronomy'`, 'CREATE EXTENSION ltree'),
  one('cubes', 'cube', `'(1,2),(3,4)'`, 'CREATE EXTENSION cube'),
  one('jsons', 'json', `'{"a" : 1,\n "b":[1e400, 12345678901234567890]}'`),
  one('jsonbs', 'jsonb', `'{"a": 12345678901234567890.5}'`),
  one('binaries', 'bytea', `'\\xdeadbeef00'`),
  one('numbers', 'numeric', `'NaN'`),
  one('bits', 'bit varying', `B'1010'`),
  one('intervals', 'interval', `'1 year 2 days 03:04:05.678'`),
  one('times', 'timestamptz', `'infinity'`),
  one('moneys', 'money', `12.34`),
  one('nets', 'inet', `'10.0.0.0/8'`),
  one('points', 'point', `'(1,2)'`),
  one('searches', 'tsvector', `to_tsvector('english', 'the quick foxes')`),
  one('system_types', 'pg_lsn', `'0/1'`),
  one('regclasses', 'regclass', `'pg_class'`),
  one('names', 'name', `'a name'`),
  one('padded', 'char(8)', `'pad'`),
  // As PostGIS: a type with a cast to json, which row_to_json uses.
  one(
    'cast_to_json',
    'geo',
    `'here'`,
    `CREATE TYPE geo AS ENUM ('here', 'there');
     CREATE FUNCTION geo_json(geo) RETURNS json LANGUAGE sql IMMUTABLE AS
       $$ SELECT json_build_object('type', 'Point', 'at', $1::text) $$;
     CREATE CAST (geo AS json) WITH FUNCTION geo_json(geo)`,
  ),
];

/** Tables of every shape. */
const shapes: readonly Species[] = [
  {
    name: 'generated',
    setUp: `CREATE TABLE generated (id text NOT NULL, a int, twice int GENERATED ALWAYS AS (a * 2) STORED)`,
    insert: `INSERT INTO generated (id, a) VALUES ('a', 4)`,
  },
  {
    name: 'virtual',
    since: 18,
    setUp: `CREATE TABLE virtual (id text NOT NULL, a int, twice text GENERATED ALWAYS AS (repeat('x', a)) VIRTUAL)`,
    insert: `INSERT INTO virtual (id, a) VALUES ('a', 4)`,
  },
  {
    name: 'identity',
    setUp: 'CREATE TABLE identity (id text NOT NULL, n int GENERATED ALWAYS AS IDENTITY)',
    insert: `INSERT INTO identity (id) VALUES ('a')`,
  },
  {
    name: 'inheriting',
    setUp: `CREATE TABLE ancestor (id text NOT NULL, note text); CREATE TABLE inheriting (more int) INHERITS (ancestor)`,
    insert: `INSERT INTO inheriting VALUES ('a', 'x', 1)`,
  },
  {
    name: 'partitioned',
    setUp: `CREATE TABLE partitioned (id text NOT NULL, at date NOT NULL) PARTITION BY RANGE (at);
      CREATE TABLE partitioned_2026 PARTITION OF partitioned FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')`,
    insert: `INSERT INTO partitioned (id, at) VALUES ('a', '2026-05-05')`,
  },
  {
    name: 'wide',
    setUp: `CREATE TABLE wide (id text NOT NULL, ${NUMBERS.map((name) => `${name} text`).join(', ')})`,
    insert: `INSERT INTO wide (id, c0, c1589) VALUES ('a', 'first', 'last')`,
  },
  {
    name: 'only_a_key',
    setUp: 'CREATE TABLE only_a_key (id text NOT NULL)',
    insert: `INSERT INTO only_a_key VALUES ('a')`,
  },
  {
    name: 'dropped_columns',
    setUp: `CREATE TABLE dropped_columns (gone int, id text NOT NULL, also int, kept text);
      ALTER TABLE dropped_columns DROP COLUMN gone, DROP COLUMN also`,
    insert: `INSERT INTO dropped_columns VALUES ('a', 'kept')`,
  },
  {
    name: 'rules',
    setUp: `CREATE TABLE rules (id text NOT NULL, v int); CREATE TABLE rules_log (v int);
      CREATE RULE copy AS ON INSERT TO rules DO ALSO INSERT INTO rules_log VALUES (NEW.v)`,
    insert: `INSERT INTO rules (id, v) VALUES ('a', 3)`,
  },
  {
    name: 'other_triggers',
    setUp: `CREATE TABLE other_triggers (id text NOT NULL, v text);
      CREATE FUNCTION other_trigger() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.v := upper(NEW.v); RETURN NEW; END $$;
      CREATE TRIGGER aaa BEFORE INSERT ON other_triggers FOR EACH ROW EXECUTE FUNCTION other_trigger()`,
    insert: `INSERT INTO other_triggers (id, v) VALUES ('a', 'small')`,
  },
  {
    name: 'row_security',
    setUp: `CREATE TABLE row_security (id text NOT NULL, v int); ALTER TABLE row_security ENABLE ROW LEVEL SECURITY;
      CREATE POLICY own ON row_security USING (id = current_setting('app.tenant', true))`,
    insert: `INSERT INTO row_security VALUES ('a', 1)`,
  },
  {
    name: 'restrictive_for_users',
    setUp: `CREATE TABLE restrictive_for_users (id text NOT NULL, v int);
      ALTER TABLE restrictive_for_users ENABLE ROW LEVEL SECURITY;
      CREATE POLICY strict ON restrictive_for_users AS RESTRICTIVE TO authenticated USING (id = current_setting('app.tenant'))`,
    insert: `INSERT INTO restrictive_for_users VALUES ('a', 1)`,
  },
];

/** Names that PostgreSQL takes. */
const names: readonly Species[] = [
  ...[
    'r',
    't',
    'page',
    'first',
    'next',
    'json',
    'row',
    'deleted',
    'epoch',
    'text',
    'stream_id',
    'bytes',
    'w',
    'k',
    'made',
    'whole_row',
    'key',
    'ended',
    'f',
  ].map(
    (column): Species => ({
      name: `column_${column}`,
      setUp: `CREATE TABLE column_${column} (id text NOT NULL, secret text, "${column}" int)`,
      insert: `INSERT INTO column_${column} VALUES ('a', 'kept', 5)`,
    }),
  ),
  {
    name: 'column_r_composite',
    setUp: `CREATE TYPE rgb AS (red int, green int); CREATE TABLE column_r_composite (id text NOT NULL, secret text, r rgb, whole_row rgb)`,
    insert: `INSERT INTO column_r_composite VALUES ('a', 'kept', ROW(1, 2), ROW(3, 4))`,
  },
  {
    name: 'own_seq_and_tx',
    setUp: `CREATE TABLE own_seq_and_tx (id text NOT NULL, seq text, tx int)`,
    numbers: { seq: 'Rowcast "seq"', tx: '100% tx' },
    insert: `INSERT INTO own_seq_and_tx VALUES ('a', 'mine', 7)`,
  },
  {
    name: 'mixed_case',
    table: '"Mixed Case"',
    setUp: `CREATE TABLE "Mixed Case" ("Id" text NOT NULL, "a ""quoted"" one" int, "50%" int, "$$" int, "it's" int, "ü🎉" int, "SELECT" int)`,
    key: 'Id',
    insert: `INSERT INTO "Mixed Case" VALUES ('a', 1, 2, 3, 4, 5, 6)`,
  },
];

/** Tables whose own name `attach` has to write into the functions that it makes. */
const hardNames: readonly Species[] = [
  `"user's notes"`,
  '"50% off"',
  '"100%"',
  '"a$$b"',
  '"back\\slash"',
  '"semi;colon"',
  '"ta""ble"',
  '"Zażółć 🎉"',
  `"${'x'.repeat(63)}"`,
].map((table, index) => ({
  name: `hard_name_${index}`,
  table,
  setUp: `CREATE TABLE ${table} (id text NOT NULL, note text)`,
  insert: `INSERT INTO ${table} VALUES ('a', 'x')`,
}));

const keyed = (name: string, type: string, value: string, channelKey: string): Species => ({
  name,
  setUp: `CREATE TABLE ${name} (id ${type} NOT NULL, v int)`,
  insert: `INSERT INTO ${name} VALUES (${value}, 1)`,
  channelKey,
});

const keys: readonly Species[] = [
  keyed('key_uuid', 'uuid', `'00000000-0000-4000-8000-00000000000A'`, '00000000-0000-4000-8000-00000000000a'),
  keyed('key_smallint', 'smallint', '-7', '-7'),
  keyed('key_bigint', 'bigint', '9223372036854775807', '9223372036854775807'),
  keyed('key_varchar', 'varchar(20)', `'a b:c/d%e'`, 'a b:c/d%e'),
  keyed('key_emoji', 'text', `'🎉'`, '🎉'),
];

export const zoo: readonly Species[] = [...types, ...shapes, ...names, ...hardNames, ...keys];

/** The sorts that a server of this version has, each made and attached. */
export async function populate(writer: pg.Client, species: readonly Species[], version: number): Promise<Species[]> {
  const there = species.filter(({ since = 0 }) => since <= version);
  for (const { name, setUp, table = name, key = 'id', numbers } of there) {
    await writer.query(setUp);
    const values = [table, key, name, numbers?.seq, numbers?.tx];
    await writer.query('SELECT rowcast.attach($1::regclass, $2, $3, $4, $5)', values);
  }
  return there;
}

export function channelOf({ name, channelKey = 'a' }: Species): string {
  return `${name}:${channelKey}`;
}

/** What the table has, as PostgreSQL itself writes it. */
export async function rowsOf(writer: pg.Client, { name, table = name, numbers }: Species): Promise<unknown[]> {
  const { seq, tx } = numbers ?? { seq: 'seq', tx: 'tx' };
  const { rows } = await writer.query<{ row: Record<string, unknown> }>(`SELECT to_json(x) AS row FROM ${table} x`);
  return rows
    .map(({ row }) => row)
    .sort((a, b) => Number(a[seq]) - Number(b[seq]))
    .map(({ [seq]: _seq, [tx]: _tx, ...row }) => row);
}
