import { afterEach, beforeAll, expect, test } from '@jest/globals';
import { exportJWK, generateKeyPair } from 'jose';
import { makeAuthenticator } from '../../server/auth/authenticator.js';
import { makeLogger } from '../../server/ground/logger.js';
import { Refusal } from '../../server/ground/refusal.js';
import type { Authenticator } from '../../server/ports/principal.js';
import { type Config, readConfig } from '../../server/settings/config.js';
import { Issuer, type SigningKey, signingKey, signWith } from '../support/issuer.js';
import { until } from '../support/until.js';

let issuer: Issuer;
let old: SigningKey;
let fresh: SigningKey;
beforeAll(async () => {
  old = await signingKey('ES256', 'old');
  fresh = await signingKey('RS256', 'fresh');
});
afterEach(() => issuer.stop());

function trusting(times: Partial<Config> = {}): Authenticator {
  const config = { ...readConfig({ ROWCAST_JWT_JWKS_URL: issuer.url }), ...times };
  const tickets = { issue: () => Promise.reject(new Error('none')), redeem: async () => null };
  return makeAuthenticator(config, { tickets, logger: makeLogger('silent') });
}

let shown = 0;

/** What becomes of a token that was never shown before. */
async function outcome(authenticator: Authenticator, key: Pick<SigningKey, 'sign'>): Promise<string> {
  shown += 1;
  const token = await key.sign({ jti: `${shown}` });
  try {
    return (await authenticator.authenticate({ token })).subject;
  } catch (error) {
    if (error instanceof Refusal) return `${error.code}: ${error.message}`;
    throw error;
  }
}

const UNKNOWN = 'unauthorized: the token is signed with an unknown key';
const AWAY = 'unavailable: the keys of the token issuer cannot be fetched';

test('I5: keys rotate: both are good while both are published, the old one is refused after', async () => {
  issuer = await Issuer.start([old]);
  const authenticator = trusting({ jwksCooldown: 0, jwksRefresh: 1 });
  expect(await outcome(authenticator, old)).toBe('ann');
  expect(await outcome(authenticator, fresh)).toBe(UNKNOWN);
  issuer.publish(old, fresh);
  expect(await outcome(authenticator, fresh)).toBe('ann');
  expect(await outcome(authenticator, old)).toBe('ann');
  issuer.publish(fresh);
  const refused = async () => (await outcome(authenticator, old)) === UNKNOWN;
  await until(refused, { deadlineMs: 5_000, what: 'the withdrawn key to be refused' });
  expect(await outcome(authenticator, fresh)).toBe('ann');
});

test('I5: tokens with unknown keys do not make the gateway flood the issuer, and none gets in', async () => {
  issuer = await Issuer.start([old]);
  const authenticator = trusting();
  const unknown = await Promise.all(Array.from({ length: 20 }, () => outcome(authenticator, fresh)));
  expect(new Set(unknown)).toEqual(new Set([UNKNOWN]));
  for (let n = 0; n < 20; n += 1) expect(await outcome(authenticator, fresh)).toBe(UNKNOWN);
  expect(await outcome(authenticator, old)).toBe('ann');
  expect(issuer.asked).toBe(1);
  const foreign = await signingKey('ES256', 'old');
  expect(await outcome(authenticator, foreign)).toBe('unauthorized: the signature of the token is not valid');
});

test('while the issuer is away known keys are good for their time, and no token is called wrong', async () => {
  issuer = await Issuer.start([old]);
  const [patient, brief] = [trusting(), trusting({ jwksCooldown: 0, jwksRefresh: 1, jwksMaxAge: 2 })];
  for (const authenticator of [patient, brief]) expect(await outcome(authenticator, old)).toBe('ann');
  await issuer.stop();
  const late = trusting();
  expect(await outcome(late, old)).toBe(AWAY);
  for (const authenticator of [patient, brief]) expect(await outcome(authenticator, old)).toBe('ann');
  expect(await outcome(brief, fresh)).toBe(AWAY);
  const over = async () => (await outcome(brief, old)) === AWAY;
  await until(over, { deadlineMs: 6_000, what: 'the known keys to be too old' });
  expect(await outcome(patient, old)).toBe('ann');
});

test('an answer that is no set of keys takes nothing away, and the gateway asks again soon', async () => {
  issuer = await Issuer.start([old]);
  const good = issuer.answer;
  const bad = [
    { status: 500, body: good.body },
    { status: 302, body: '' },
    { status: 200, body: '<html>' },
    { status: 200, body: '{"keys":{}}' },
    { status: 200, body: '[]' },
    { status: 200, body: `{"keys":[],"padding":"${'x'.repeat(300_000)}"}` },
  ];
  const [first, ...others] = bad.map(() => trusting());
  for (const [index, answer] of bad.entries()) {
    issuer.answer = answer;
    expect(await outcome([first, ...others][index] as Authenticator, old)).toBe(AWAY);
  }
  issuer.answer = good;
  const back = async () => (await outcome(first as Authenticator, old)) === 'ann';
  await until(back, { deadlineMs: 4_000, what: 'the issuer to be asked again' });
});

test('I5: a set that holds a secret or a private key admits no client by it', async () => {
  issuer = await Issuer.start([]);
  const secret = Buffer.from('0123456789abcdef0123456789abcdef');
  const oct = { kty: 'oct', k: secret.toString('base64url'), kid: 'o', alg: 'HS256' };
  const { publicKey, privateKey } = await generateKeyPair('RS256', { modulusLength: 2048, extractable: true });
  const asSecret = { ...(await exportJWK(privateKey)), kid: 'p', alg: 'RS256' };
  issuer.answer = {
    status: 200,
    body: JSON.stringify({ keys: [oct, asSecret, await exportJWK(publicKey), old.public] }),
  };
  const authenticator = trusting();
  const only = 'unauthorized: the token is not signed with RS256 or ES256 or EdDSA';
  expect(await outcome(authenticator, { sign: signWith(secret, { alg: 'HS256', kid: 'o' }) })).toBe(only);
  expect(await outcome(authenticator, { sign: signWith(privateKey, { alg: 'RS256', kid: 'p' }) })).toMatch(/^un/);
  const several = 'unauthorized: the token does not name the key it is signed with (kid), and several match';
  expect(await outcome(authenticator, { sign: signWith(privateKey, { alg: 'RS256' }) })).toBe(several);
  expect(await outcome(authenticator, old)).toBe('ann');
});
