import { createRemoteJWKSet, customFetch, type JWTVerifyGetKey } from 'jose';
import { z } from 'zod';
import type { Logger } from '../ground/logger.js';

/** The timeout of a request to the issuer, in milliseconds, and the maximum size of the response, in bytes. */
const REQUEST_TIMEOUT = 3_000;
const MAX_RESPONSE_BYTES = 256 * 1024;

/** Delay after a failed request, in milliseconds: many clients reconnect at once, and each needs the keys. */
const RETRY_AFTER = 1_000;

export interface IssuerKeysOptions {
  readonly url: string;
  /** All three in seconds. */
  readonly cooldown: number;
  readonly refresh: number;
  readonly maxAge: number;
  readonly logger: Logger;
}

const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) });

/** The keys of the issuer cannot be fetched, so that tokens cannot be verified. */
export class NoKeys extends Error {
  override readonly name = 'NoKeys';
}

/**
 * The keys that an issuer publishes as a JWK set. They are fetched again for a token with an unknown key, at most once per
 * `cooldown`, and when they are used after `refresh`. If that fails they stay valid until `maxAge`, and the next
 * attempt is made after another `refresh`. Rejects with `NoKeys` if there are no valid keys.
 */
export function issuerKeys({ url, cooldown, refresh, maxAge, logger }: IssuerKeysOptions): JWTVerifyGetKey {
  let fetchedAt = Number.NEGATIVE_INFINITY;
  let failed = Number.NEGATIVE_INFINITY;
  const keys = createRemoteJWKSet(new URL(url), {
    timeoutDuration: REQUEST_TIMEOUT,
    cooldownDuration: cooldown * 1000,
    cacheMaxAge: maxAge * 1000,
    [customFetch]: async (address, init) => {
      if (performance.now() - failed < RETRY_AFTER)
        throw new NoKeys('the last request to the issuer failed a moment ago');
      fetchedAt = performance.now();
      try {
        return await fetchKeys(address, init);
      } catch (error) {
        failed = performance.now();
        logger.warn({ err: error }, 'the keys of the token issuer could not be fetched');
        throw new NoKeys('the issuer does not answer', { cause: error });
      }
    },
  });
  let refreshed = Promise.resolve();
  return async (header, token) => {
    if (performance.now() - fetchedAt > refresh * 1000) refreshed = keys.reload().catch(() => {}); // logged above
    await refreshed;
    return keys(header, token);
  };
}

/** Fetches the JWK set and checks its form: an error page must not replace the cached keys. */
async function fetchKeys(address: string, init: RequestInit): Promise<Response> {
  const response = await fetch(address, init);
  if (response.status !== 200) throw new Error(`the issuer returned status ${response.status}`);
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const part of response.body ?? []) {
    parts.push(part as Uint8Array);
    size += parts.at(-1)?.length ?? 0;
    if (size > MAX_RESPONSE_BYTES) throw new Error(`the issuer returned more than ${MAX_RESPONSE_BYTES} bytes`);
  }
  return Response.json(keySet.parse(JSON.parse(Buffer.concat(parts).toString())));
}
