import { rm } from 'node:fs/promises';

export default async function teardown(): Promise<void> {
  const run = globalThis.rowcastTestRun;
  if (!run) return;
  await Promise.all(run.clusters.map((cluster) => cluster.stop()));
  await rm(run.directory, { recursive: true, force: true });
}
