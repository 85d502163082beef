import { errors, jwtVerify } from 'jose';
import type { Authenticator } from '../ports.js';
import { Refusal } from '../refusal.js';

/** Seconds that the clocks of the issuer and of this machine may differ. */
const CLOCK_TOLERANCE = 5;

/** Accepts a JWT that is signed with the secret (HS256) and says who it is for and when it ends. */
export function jwtAuthenticator(secret: string): Authenticator {
  const key = new TextEncoder().encode(secret);
  return {
    async authenticate(token) {
      if (token === undefined) throw new Refusal('unauthorized', 'this gateway needs a token');
      try {
        const { payload } = await jwtVerify(token, key, {
          algorithms: ['HS256'],
          requiredClaims: ['sub', 'exp'],
          clockTolerance: CLOCK_TOLERANCE,
        });
        return { subject: payload.sub ?? '', expiresAt: ((payload.exp ?? 0) + CLOCK_TOLERANCE) * 1000 };
      } catch (error) {
        if (error instanceof errors.JWTExpired) throw new Refusal('token_expired');
        throw new Refusal('unauthorized', 'the token is not valid');
      }
    },
  };
}

/** Everybody on this machine: the gateway listens on loopback only. */
export const localAuthenticator: Authenticator = {
  authenticate: async () => ({ subject: 'local', expiresAt: null }),
};
