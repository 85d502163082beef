import { SignJWT } from 'jose';
import type { Role } from '../ports/principal.js';
import { type Config, ConfigError } from '../settings/config.js';
import { print } from './output.js';

export interface TokenOptions {
  readonly role: Role;
  /** A duration as jose parses it: `90s`, `15m`, `2 hours`. */
  readonly for: string;
}

/** `rowcast token`: makes a token, for tests and for services that know the secret. Users get theirs when they log in. */
export async function makeToken(subject: string, options: TokenOptions, config: Config): Promise<void> {
  const { jwtSecret, jwtAudience: [audience] = [], jwtIssuer: [issuer] = [], jwtRoleClaim } = config;
  if (jwtSecret === undefined) {
    throw new ConfigError(
      'ROWCAST_JWT_SECRET: required, the secret of the gateway. If the gateway has a public key, only the issuer can make tokens.',
    );
  }
  const token = new SignJWT({ [jwtRoleClaim]: options.role })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(subject)
    .setIssuedAt();
  try {
    token.setExpirationTime(options.for);
  } catch {
    throw new ConfigError(`--for: ${JSON.stringify(options.for)} is not a duration such as 90s, 15m or 2h`);
  }
  if (audience !== undefined) token.setAudience(audience);
  if (issuer !== undefined) token.setIssuer(issuer);
  print(await token.sign(new TextEncoder().encode(jwtSecret)));
}
