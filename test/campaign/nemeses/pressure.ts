/** What runs full, and what stands between a gateway and the database. */
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { whyLacking } from '../../support/installed.mjs';
import { startPgBouncer } from '../../support/pgbouncer.js';
import { until } from '../../support/until.js';
import type { World } from '../world.js';
import type { Nemesis } from './nemesis.js';

/** How full the queue of notifications is made, of 1. */
const PRESSURE = 0.4;
const MiB = 1024 * 1024;

async function queueUsage({ database }: World): Promise<number> {
  const [now] = await database.query<{ usage: number }>('SELECT pg_notification_queue_usage() AS usage');
  return now?.usage ?? 0;
}

/** Whether a table on the small disk can grow. */
async function canGrow({ database }: World): Promise<boolean> {
  const grow = `CREATE TABLE campaign.probe TABLESPACE small AS SELECT repeat('x', 1000) FROM generate_series(1, 200)`;
  const grew = await database.query(grow).then(
    () => true,
    (error: { code?: string }) => {
      if (error.code === '53100') return false;
      throw error;
    },
  );
  await database.query('DROP TABLE IF EXISTS campaign.probe');
  return grew;
}

/** Writes a file until the disk is full. */
async function fill(path: string): Promise<number> {
  const file = await open(path, 'w');
  let written = 0;
  try {
    for (let block = Buffer.alloc(4 * MiB); block.length > 0; ) {
      try {
        written += (await file.write(block)).bytesWritten;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
        block = block.subarray(0, block.length > 4096 ? block.length / 2 : 0);
      }
    }
  } finally {
    await file.close();
  }
  return written;
}

export const pressureNemeses: readonly Nemesis[] = [
  {
    name: 'queue-pressure',
    about: 'a session LISTENs and sits in a transaction while another channel is flooded with notifications',
    breaks: ['database'],
    lasts: [1_000, 4_000],
    async strike({ world, holdMs }) {
      const sitter = await world.database.connect('campaign sitter');
      let reached = 0;
      try {
        await sitter.query('LISTEN campaign');
        await sitter.query('BEGIN');
        await sitter.query('SELECT 1');
        while (reached < PRESSURE) {
          await world.database.query(
            `SELECT count(pg_notify('campaign', i || repeat('x', 7000))) FROM generate_series(1, 100) i`,
          );
          reached = await queueUsage(world);
        }
        await delay(holdMs);
      } finally {
        await sitter.end();
      }
      await until(async () => (await queueUsage(world)) < PRESSURE / 2, { what: 'the queue to drain' });
      return `queue at ${Math.round(reached * 100)} %`;
    },
  },
  {
    name: 'disk-full',
    about: 'the disk with the tables of the streams is full: writers fail and try again',
    breaks: ['database', 'stir'],
    lasts: [1_500, 4_000],
    missing: ({ database }) => (database.smallDisk === null ? database.noSmallDisk : null),
    async strike({ world, holdMs }) {
      const { database } = world;
      const ballast = join(database.smallDisk ?? '', 'ballast');
      return database.excuse('the disk is full', async () => {
        let bytes = 0;
        try {
          bytes = await fill(ballast);
          await until(async () => !(await canGrow(world)), { what: 'the disk to be full' });
          await delay(holdMs);
        } finally {
          await rm(ballast, { force: true });
        }
        await until(() => canGrow(world), { what: 'the disk to have room again' });
        return `${Math.round(bytes / MiB)} MiB of ballast`;
      });
    },
  },
  {
    name: 'pgbouncer',
    about: 'PgBouncer in session mode between a gateway and the database, killed and started again while in use',
    breaks: ['gateway', 'database'],
    lasts: [2_000, 6_000],
    missing: () => whyLacking('pgbouncer'),
    async strike({ world, gateway, holdMs }) {
      const databaseUrl = new URL(world.database.url);
      databaseUrl.username = gateway.user;
      const pass = async () => {
        const bouncer = await startPgBouncer({ databaseUrl: databaseUrl.href, poolMode: 'session' });
        try {
          gateway.back.retarget(Number(new URL(bouncer.url).port));
          gateway.back.reset();
          await until(async () => !(await gateway.isReady()), {
            deadlineMs: 3_000,
            what: 'the gateway to notice',
          }).catch(() => {});
          await gateway.ready();
          await delay(holdMs / 2);
        } finally {
          await bouncer.stop();
        }
      };
      try {
        await pass();
        await pass();
      } finally {
        gateway.back.retarget(world.database.port);
        gateway.back.reset();
      }
      await gateway.ready();
      return gateway.name;
    },
  },
];
