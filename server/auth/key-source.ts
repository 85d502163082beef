import type { JWTVerifyGetKey } from 'jose';
import type { Logger } from '../ground/logger.js';
import type { Config } from '../settings/config.js';
import { issuerKeys } from './issuer-keys.js';

/** What tokens are checked with. The algorithms follow from it and never from the token: no key can be taken for one of another kind. */
export interface KeySource {
  readonly algorithms: readonly string[];
  readonly find: JWTVerifyGetKey;
}

/** The one that is configured. Throws where there is none. */
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
  if (jwksUrl === undefined) throw new Error('there is no key to check tokens with');
  const times = { cooldown: jwksCooldown, refresh: jwksRefresh, maxAge: jwksMaxAge };
  return { algorithms: ['RS256', 'ES256', 'EdDSA'], find: issuerKeys({ url: jwksUrl, ...times, logger }) };
}
