import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { makeRandom } from '../support/random.js';
import { arrive } from './arrival.js';
import { checkClients } from './check-clients.js';
import { checkTables } from './check-tables.js';
import { drawClients } from './clients/draw.js';
import { ClientHost } from './clients/host.js';
import type { Ports } from './clients/plan.js';
import { Course } from './course.js';
import { Lateness } from './lateness.js';
import { LockWatch } from './lock-watch.js';
import type { CampaignOptions } from './options.js';
import { type Summary, summarise } from './summary.js';
import { startWatch } from './watch.js';
import { startWorld } from './world.js';

/** A whole campaign: starts everything, breaks it, checks what everybody saw, and leaves nothing running. */
export async function runCampaign(options: CampaignOptions): Promise<Summary> {
  const { out, log, seed } = options;
  const random = makeRandom(seed);
  const folder = join(out, 'histories');
  await mkdir(folder, { recursive: true });
  const lag = monitorEventLoopDelay({ resolution: 10 });
  lag.enable();
  const world = await startWorld({
    out,
    gateways: options.gateways,
    rowsPerSecond: options.rowsPerSecond,
    random: random.branch('world'),
    log,
  });
  const fronts = world.gateways.map(({ front }) => front.port);
  const ports: Ports = { websocket: fronts, sse: fronts, poll: fronts };
  const doors: Ports = {
    websocket: world.gateways.map(({ doors }) => doors.websocket.port),
    sse: world.gateways.map(({ doors }) => doors.sse.port),
    poll: fronts,
  };
  const plans = drawClients(options.clients, random.branch('clients'));
  const host = new ClientHost(plans, ports, doors, folder);
  const watch = startWatch(fronts[0] ?? 0, join(folder, 'watch-000.jsonl'));
  const locks = new LockWatch(world.database);
  const lateness = new Lateness(world.gateways, world.team);
  try {
    locks.start();
    world.team.start();
    const course = new Course(world, host, options);
    await course.run();
    await locks.stop();
    const arrival = await arrive(world, host, watch, options);
    const late = await lateness.finish(course.strikes.broken);
    const [closed] = await Promise.all([host.close(), watch.stop()]);
    const histories = closed.clients.map(({ history }) => history);
    // Ctrl-C in a terminal has ended it before the others.
    if (!options.signal.aborted) histories.push(watch.history);
    log('comparing what the clients saw with the tables');
    const { verdict, faults } = await checkClients(world.database, histories);
    const tables = await checkTables(
      world.database,
      world.team.all.map(({ ledger }) => ledger),
    );
    return summarise({
      options,
      world,
      struck: course.strikes.struck,
      skipped: course.skipped,
      lockLooks: locks.looks,
      memory: course.memory,
      arrival,
      closed,
      verdict,
      faults: { clients: faults, tables: tables.faults, locks: locks.faults, late: late.faults },
      rareRowsMs: late.waits,
      rows: tables.rows,
      seconds: course.seconds,
      lagMs: { p99: lag.percentile(99) / 1e6, max: lag.max / 1e6, clientsMax: closed.worstLagMs },
    });
  } finally {
    await locks.stop();
    lateness.stop();
    watch.kill();
    await host.kill();
    world.team.pace.close();
    await world.stop();
  }
}
