import type { JWTVerifyGetKey } from 'jose';
import type { Logger } from '../ground/logger.js';
import type { Config } from '../settings/config.js';
import { issuerKeys } from './issuer-keys.js';

/** The keys that tokens are verified with. The algorithms depend on the key and never on the token, which prevents algorithm confusion. */
export interface KeySource {
  readonly algorithms: readonly string[];
  readonly find: JWTVerifyGetKey;
}

/** Returns the configured key source. Throws if there is none. */
export function keySource(config: Config, logger: Logger): KeySource {
  const { jwtSecret, jwtPublicKey, jwksUrl, jwksCooldown, jwksRefresh, jwksMaxAge } = config;
  if (jwtSecret !== undefined) {
    const key = new TextEncoder().encode(jwtSecret);
    return { algorithms: ['HS256'], find: async () => key };
  }
  if (jwtPublicKey !== undefined) {
    const { key, algorithm } = jwtPublicKey;
    return { algorithms: [algorithm], find: async () => key };
  }
  if (jwksUrl === undefined) throw new Error('no key for tokens is configured');
  const times = { cooldown: jwksCooldown, refresh: jwksRefresh, maxAge: jwksMaxAge };
  return { algorithms: ['RS256', 'ES256', 'EdDSA'], find: issuerKeys({ url: jwksUrl, ...times, logger }) };
}
