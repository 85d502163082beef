/** Opens the carrier that a URL names. Its library is an optional peer dependency, which is loaded only here. */
import { type Logger, makeLogger } from '../../ground/logger.js';
import type { Carrier } from '../carrier.js';

interface Kind {
  /** What `npm install` takes. */
  readonly packages: string;
  readonly open: (url: string, logger: Logger) => Promise<Carrier>;
}

const BULLMQ: Kind = {
  packages: 'bullmq ioredis',
  open: async (...args) => (await import('./bullmq.js')).bullmqCarrier(...args),
};
const DBOS: Kind = {
  packages: '@dbos-inc/dbos-sdk',
  open: async (...args) => (await import('./dbos.js')).dbosCarrier(...args),
};

const KINDS: Readonly<Record<string, Kind>> = {
  'redis:': BULLMQ,
  'rediss:': BULLMQ,
  'postgres:': DBOS,
  'postgresql:': DBOS,
};

/**
 * `redis://` and `rediss://`: BullMQ on that Redis. `postgres://`: DBOS with its tables in that database. Rejects with the
 * command to install if the library is missing.
 */
export async function openCarrier(url: string, logger: Logger = makeLogger('warn')): Promise<Carrier> {
  const kind = URL.canParse(url) ? KINDS[new URL(url).protocol] : undefined;
  if (kind === undefined) throw new Error('a carrier is a URL that begins with redis://, rediss:// or postgres://');
  try {
    return await kind.open(url, logger);
  } catch (error) {
    if ((error as { code?: unknown }).code !== 'ERR_MODULE_NOT_FOUND') throw error;
    throw new Error(`the carrier needs what is not installed: npm install ${kind.packages}`, { cause: error });
  }
}
