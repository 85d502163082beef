import { SignJWT } from 'jose';
import type { Role } from '../ports/principal.js';
import { type Config, ConfigError } from '../settings/config.js';
import { print } from './output.js';

export interface TokenOptions {
  readonly role: Role;
  /** As jose reads a span of time: `90s`, `15m`, `2 hours`. */
  readonly for: string;
}

/** `rowcast token`: for trying out, and for services that know the secret. Users get theirs where they log in. */
export async function makeToken(subject: string, options: TokenOptions, config: Config): Promise<void> {
  const { jwtSecret, jwtAudience: [audience] = [], jwtIssuer: [issuer] = [], jwtRoleClaim } = config;
  if (jwtSecret === undefined) {
    throw new ConfigError(
      'ROWCAST_JWT_SECRET: set it to the secret of the gateway; with a public key the issuer makes tokens',
    );
  }
  const token = new SignJWT({ [jwtRoleClaim]: options.role })
    .setProtectedHeader({ alg: 'HS256' })
    .setSubject(subject)
    .setIssuedAt();
  try {
    token.setExpirationTime(options.for);
  } catch {
    throw new ConfigError(`--for: ${JSON.stringify(options.for)} is no time such as 90s, 15m or 2h`);
  }
  if (audience !== undefined) token.setAudience(audience);
  if (issuer !== undefined) token.setIssuer(issuer);
  print(await token.sign(new TextEncoder().encode(jwtSecret)));
}
