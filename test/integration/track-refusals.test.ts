/** What `rowcast.track` refuses, and what it says. */
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import type pg from 'pg';
import { createDatabase, type TestDatabase } from '../support/database.js';
import { connectWriter } from '../support/writer.js';

describe('track refuses', () => {
  let database: TestDatabase;
  let writer: pg.Client;

  beforeAll(async () => {
    database = await createDatabase();
    writer = await connectWriter(database.url);
  });
  afterAll(async () => {
    await writer.end();
    await database.drop();
  });

  test.each([
    ['a view', 'CREATE VIEW r1 AS SELECT 1 AS id', "'r1'", /not an ordinary table/],
    ['no primary key', 'CREATE TABLE r2 (id int)', "'r2'", /no primary key/],
    ['a key of another type', 'CREATE TABLE r3 (id int PRIMARY KEY, at date)', "'r3', key => 'at'", /its type is date/],
    ['an unlogged table', 'CREATE UNLOGGED TABLE r4 (id int PRIMARY KEY)', "'r4'", /unlogged/],
    [
      'a column that is not there',
      'CREATE TABLE r5 (id int PRIMARY KEY)',
      "'r5', columns => ARRAY['x']",
      /no column x/,
    ],
    ['a stream', 'SELECT 1', "'rowcast.messages', name => 'x'", /attached/],
    [
      'a policy that looks at other columns',
      'CREATE TABLE r6 (id int PRIMARY KEY, customer int, owner text); ALTER TABLE r6 ENABLE ROW LEVEL SECURITY; CREATE POLICY own ON r6 USING (owner = rowcast.subject())',
      "'r6', key => 'customer'",
      /rights are per channel/,
    ],
    [
      'a column that a reader may not select',
      'CREATE TABLE r7 (id int PRIMARY KEY, secret text); GRANT SELECT (id) ON r7 TO authenticated',
      "'r7'",
      /may not select column secret/,
    ],
    ['an unknown value of old', 'CREATE TABLE r8 (id int PRIMARY KEY)', "'r8', old => 'some'", /changed, all or none/],
  ])('refused, with what to do instead: %s', async (_, prepare, call, message) => {
    await writer.query(prepare);
    const error = await writer.query(`SELECT rowcast.track(${call})`).then(
      () => null,
      (reason: pg.DatabaseError) => reason,
    );
    expect(error?.message).toMatch(message);
    if (!/no column|changed, all/.test(error?.message ?? '')) expect(error?.hint ?? error?.message).toBeTruthy();
  });
});
