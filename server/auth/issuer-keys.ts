import { createRemoteJWKSet, customFetch, type JWTVerifyGetKey } from 'jose';
import { z } from 'zod';
import type { Logger } from '../ground/logger.js';

/** How long the issuer may take to answer, in milliseconds, and how much it may say, in bytes. */
const PATIENCE = 3_000;
const LARGEST_ANSWER = 256 * 1024;

/** After an attempt that failed so long passes before the next, in milliseconds: many clients come at once. */
const RETRY_AFTER = 1_000;

export interface IssuerKeysOptions {
  readonly url: string;
  /** In seconds, as the settings. */
  readonly cooldown: number;
  readonly refresh: number;
  readonly maxAge: number;
  readonly logger: Logger;
}

const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) });

/** The issuer cannot be asked for its keys: nobody knows whether a token is good. */
export class NoKeys extends Error {
  override readonly name = 'NoKeys';
}

/**
 * The keys that an issuer publishes. A token with an unknown key makes them be fetched again; besides that they are
 * fetched anew when they are used after `refresh`. If that fails, they are good until `maxAge`, and nobody waits for
 * the issuer again before another `refresh` is over.
 * Rejects with `NoKeys` where there are none to tell by.
 */
export function issuerKeys({ url, cooldown, refresh, maxAge, logger }: IssuerKeysOptions): JWTVerifyGetKey {
  let asked = Number.NEGATIVE_INFINITY;
  let failed = Number.NEGATIVE_INFINITY;
  const keys = createRemoteJWKSet(new URL(url), {
    timeoutDuration: PATIENCE,
    cooldownDuration: cooldown * 1000,
    cacheMaxAge: maxAge * 1000,
    [customFetch]: async (address, init) => {
      if (performance.now() - failed < RETRY_AFTER) throw new NoKeys('the issuer did not answer just before');
      asked = performance.now();
      try {
        return await fetchKeys(address, init);
      } catch (error) {
        failed = performance.now();
        logger.warn({ err: error }, 'the keys of the issuer of tokens could not be fetched');
        throw new NoKeys('the issuer does not answer', { cause: error });
      }
    },
  });
  let refreshed = Promise.resolve();
  return async (header, token) => {
    if (performance.now() - asked > refresh * 1000) refreshed = keys.reload().catch(() => {}); // it was logged
    await refreshed;
    return keys(header, token);
  };
}

/** The answer of the issuer, once it is known to be a set of keys: anything else must not take the place of one. */
async function fetchKeys(address: string, init: RequestInit): Promise<Response> {
  const response = await fetch(address, init);
  if (response.status !== 200) throw new Error(`the issuer answered with status ${response.status}`);
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    parts.push(part as Uint8Array);
    size += parts.at(-1)?.length ?? 0;
    if (size > LARGEST_ANSWER) throw new Error(`the issuer answered with more than ${LARGEST_ANSWER} bytes`);
  }
  return Response.json(keySet.parse(JSON.parse(Buffer.concat(parts).toString())));
}
