import { z } from 'zod';
import { publicKey } from './public-key.js';
import { isLoopback, type Setting, whole } from './setting.js';

const list = z.string().transform((text, { addIssue }) => {
  const entries = text.split(',').map((entry) => entry.trim());
  if (entries.includes('')) addIssue({ code: 'custom', message: 'must be a list like a,b without an empty entry' });
  return entries;
});

/** Who is who: the keys that tokens are checked with, what a token must say, and tickets. */
export const identitySettings = {
  jwtSecret: {
    env: 'ROWCAST_JWT_SECRET',
    schema: z
      .string()
      .min(32, 'must have at least 32 characters')
      .refine((text) => !text.includes('-----BEGIN'), 'is a key of the format PEM; set ROWCAST_JWT_PUBLIC_KEY')
      .optional(),
    unit: 'text',
    about: 'With it, every client needs a token (JWT) that is signed with it by HS256.',
    file: true,
  },
  jwtPublicKey: {
    env: 'ROWCAST_JWT_PUBLIC_KEY',
    schema: publicKey.optional(),
    unit: 'PEM',
    about:
      'In its place, the public key of whoever issues the tokens. The kind of the key decides how they are signed: RSA by RS256, P-256 by ES256, Ed25519 by EdDSA.',
    file: true,
  },
  jwksUrl: {
    env: 'ROWCAST_JWT_JWKS_URL',
    schema: z
      .url({ protocol: /^https?$/ })
      .refine((url) => !URL.canParse(url) || isSafe(new URL(url)), 'must be https, or lead to this machine')
      .optional(),
    unit: 'URL',
    about: 'In its place, where the issuer publishes its keys (JWKS), for RS256, ES256 and EdDSA.',
  },
  jwksCooldown: {
    env: 'ROWCAST_JWT_JWKS_COOLDOWN',
    schema: whole(0, 3600).default(10),
    unit: 's',
    about:
      'A token with an unknown key makes the gateway fetch the keys again, but not sooner than so long after it did.',
  },
  jwksRefresh: {
    env: 'ROWCAST_JWT_JWKS_REFRESH',
    schema: whole(1, 86_400).default(300),
    unit: 's',
    about: 'Keys that are in use are fetched anew after so long: a key that was withdrawn is refused from then on.',
  },
  jwksMaxAge: {
    env: 'ROWCAST_JWT_JWKS_MAX_AGE',
    schema: whole(1, 86_400).default(3600),
    unit: 's',
    about: 'While the keys cannot be fetched, those that are known are good for so long.',
  },
  jwtAudience: {
    env: 'ROWCAST_JWT_AUDIENCE',
    schema: list.optional(),
    unit: 'list',
    about: 'With it, the claim `aud` must name one of these.',
  },
  jwtIssuer: {
    env: 'ROWCAST_JWT_ISSUER',
    schema: list.optional(),
    unit: 'list',
    about: 'With it, the claim `iss` must be one of these.',
  },
  jwtClockTolerance: {
    env: 'ROWCAST_JWT_CLOCK_TOLERANCE',
    schema: whole(0, 300).default(5),
    unit: 's',
    about: 'How far the clocks of the issuer and of the gateway may be apart.',
  },
  jwtRoleClaim: {
    env: 'ROWCAST_JWT_ROLE_CLAIM',
    schema: z.string().min(1).default('role'),
    unit: 'name',
    about: 'The claim that names the role: `service_role`, `anon`, or whatever else for a user.',
  },
  anonymous: {
    env: 'ROWCAST_ANONYMOUS',
    schema: z.enum(['off', 'on']).default('off'),
    unit: 'mode',
    about: '`on`: who shows no token may read what the role `anon` may read.',
  },
  ticketTtl: {
    env: 'ROWCAST_TICKET_TTL',
    schema: whole(1, 300).default(30),
    unit: 's',
    about: 'How long a ticket waits to be used.',
  },
} as const satisfies Record<string, Setting>;

/** The settings of which one makes clients show tokens. */
export const KEYS = ['jwtSecret', 'jwtPublicKey', 'jwksUrl'] as const satisfies (keyof typeof identitySettings)[];

/** Keys that come over a network in the clear could be anybody's. */
function isSafe({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || isLoopback(hostname);
}
