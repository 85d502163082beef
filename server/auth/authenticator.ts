import type { Logger } from '../ground/logger.js';
import { Refusal } from '../ground/refusal.js';
import { type Authenticator, type Principal, type Tickets, withoutToken } from '../ports/principal.js';
import { type Config, needsToken } from '../settings/config.js';
import { keySource } from './key-source.js';
import { Tokens } from './tokens.js';

/** Everybody on this machine: without a key the gateway listens on loopback only. */
const LOCAL = withoutToken('service_role', 'local');

/** Whoever shows nothing, where that is admitted. */
const ANONYMOUS = withoutToken('anon');

/** Tells who asks, in the way that the settings say. A ticket goes before a token: a browser adds a cookie unasked. */
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
      throw new Refusal('unauthorized', 'this gateway needs a token');
    },
  };
}

function notExpired(principal: Principal | null): Principal {
  if (principal === null) throw new Refusal('unauthorized', 'the ticket was used, is too old, or never was one');
  if (principal.expiresAt !== null && principal.expiresAt <= Date.now()) throw new Refusal('token_expired');
  return principal;
}
