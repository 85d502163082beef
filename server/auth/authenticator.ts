import type { Logger } from '../ground/logger.js';
import { Refusal } from '../ground/refusal.js';
import { type Authenticator, type Principal, type Tickets, withoutToken } from '../ports/principal.js';
import { type Config, needsToken } from '../settings/config.js';
import { keySource } from './key-source.js';
import { Tokens } from './tokens.js';

/** Every client of a gateway without a key for tokens, which listens on loopback only. */
const LOCAL = withoutToken('service_role', 'local');

/** Clients without a token, if they are admitted. */
const ANONYMOUS = withoutToken('anon');

/** Makes the authenticator that the settings select. A ticket takes precedence over a token, because browsers add cookies on their own. */
export function makeAuthenticator(config: Config, deps: { tickets: Tickets; logger: Logger }): Authenticator {
  if (!needsToken(config)) return { authenticate: async () => LOCAL };
  const { tickets, logger } = deps;
  const tokens = new Tokens({
    keys: keySource(config, logger),
    audience: config.jwtAudience,
    issuer: config.jwtIssuer,
    clockTolerance: config.jwtClockTolerance,
    roleClaim: config.jwtRoleClaim,
    logger,
  });
  return {
    async authenticate({ token, ticket }) {
      if (ticket !== undefined) return notExpired(await tickets.redeem(ticket));
      if (token !== undefined) return tokens.verify(token);
      if (config.anonymous === 'on') return ANONYMOUS;
      throw new Refusal('unauthorized', 'this gateway requires a token');
    },
  };
}

function notExpired(principal: Principal | null): Principal {
  if (principal === null) throw new Refusal('unauthorized', 'the ticket is invalid, expired or already used');
  if (principal.expiresAt !== null && principal.expiresAt <= Date.now()) throw new Refusal('token_expired');
  return principal;
}
