import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/** Returns a port on which nothing listens: the preferred one if it is free, otherwise any. */
export async function freePort(preferred = 0, host = '127.0.0.1'): Promise<number> {
  const probe = createServer().listen(preferred, host);
  try {
    await once(probe, 'listening');
  } catch (error) {
    if (preferred === 0) throw error;
    return freePort(0, host);
  }
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
