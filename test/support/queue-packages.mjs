/** Queues of jobs in PostgreSQL, which the benchmark of the engine runs beside it. The versions are the last ones for Node 20. */
import { beside, installMissing } from './packages-beside.mjs';

/** The folder in which they are installed, now if they are not there yet; null if they cannot be. */
export function queueHome() {
  const place = () => beside('rowcast-queues', 'graphile-worker', '0.17.3', ['pg-boss@10.4.2']);
  installMissing([place()]);
  const { installed, home } = place();
  return installed ? home : null;
}
