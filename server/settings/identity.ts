import { z } from 'zod';
import { publicKey } from './public-key.js';
import { isLoopback, type Setting } from './setting.js';

const list = z.string().transform((text, { addIssue }) => {
  const entries = text.split(',').map((entry) => entry.trim());
  if (entries.includes('')) addIssue({ code: 'custom', message: 'must be a list like a,b without an empty entry' });
  return entries;
});

/** How clients are identified: the key that tokens are verified with, and what a token must contain. */
export const identitySettings = {
  jwtSecret: {
    env: 'ROWCAST_JWT_SECRET',
    schema: z
      .string()
      .min(32, 'must have at least 32 characters')
      .refine((text) => !text.includes('-----BEGIN'), 'is a PEM key; set ROWCAST_JWT_PUBLIC_KEY')
      .optional(),
    unit: 'text',
    about: 'Secret that tokens (JWT) are signed with, by HS256. With it, every client needs a token.',
    file: true,
  },
  jwtPublicKey: {
    env: 'ROWCAST_JWT_PUBLIC_KEY',
    schema: publicKey.optional(),
    unit: 'PEM',
    about:
      'Instead of the secret, the public key of the token issuer. The type of the key decides the algorithm: RSA for RS256, P-256 for ES256, Ed25519 for EdDSA.',
    file: true,
  },
  jwksUrl: {
    env: 'ROWCAST_JWT_JWKS_URL',
    schema: z
      .url({ protocol: /^https?$/, error: 'must be a URL such as https://id.example/keys' })
      .refine((url) => !URL.canParse(url) || isSafe(new URL(url)), 'must be https, or a loopback address')
      .optional(),
    unit: 'URL',
    about: 'Instead of a key, the URL where the issuer publishes its keys (JWKS), for RS256, ES256 and EdDSA.',
  },
  jwtAudience: {
    env: 'ROWCAST_JWT_AUDIENCE',
    schema: list.optional(),
    unit: 'list',
    about: 'If set, the claim `aud` must name one of these.',
  },
  jwtIssuer: {
    env: 'ROWCAST_JWT_ISSUER',
    schema: list.optional(),
    unit: 'list',
    about: 'If set, the claim `iss` must be one of these.',
  },
  jwtRoleClaim: {
    env: 'ROWCAST_JWT_ROLE_CLAIM',
    schema: z.string().min(1).default('role'),
    unit: 'name',
    about: 'The claim that holds the role: `service_role`, `anon`, `agent_worker`, or any other value for a user.',
  },
  anonymous: {
    env: 'ROWCAST_ANONYMOUS',
    schema: z.enum(['off', 'on']).default('off'),
    unit: 'mode',
    about: '`on`: a client without a token has the role `anon`, and may read what that role may read.',
  },
} as const satisfies Record<string, Setting>;

/** The settings that hold a key. With one of them, every client needs a token. */
export const KEYS = ['jwtSecret', 'jwtPublicKey', 'jwksUrl'] as const satisfies (keyof typeof identitySettings)[];

/** Keys that are fetched over a network without TLS can be replaced on the way. */
function isSafe({ protocol, hostname }: URL): boolean {
  return protocol === 'https:' || isLoopback(hostname);
}
