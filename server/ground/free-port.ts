import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';

/** A port of this machine on which nothing listens: the wished one if that is free, else any. */
export async function freePort(wish = 0, host = '127.0.0.1'): Promise<number> {
  const probe = createServer().listen(wish, host);
  try {
    await once(probe, 'listening');
  } catch (error) {
    if (wish === 0) throw error;
    return freePort(0, host);
  }
  const { port } = probe.address() as AddressInfo;
  probe.close();
  await once(probe, 'close');
  return port;
}
