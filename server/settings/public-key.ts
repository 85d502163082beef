import { createPublicKey, type KeyObject } from 'node:crypto';
import { z } from 'zod';

/** A key that verifies tokens, and the only algorithm that it is used with. */
export interface PublicKey {
  readonly key: KeyObject;
  readonly algorithm: 'RS256' | 'ES256' | 'EdDSA';
}

/** Minimum size for RS256 (RFC 7518), in bits. */
const SHORTEST_RSA = 2048;

const KINDS = 'RSA of 2048 bits or more, EC P-256 or Ed25519';

/** A public key as PEM. Node also derives one from a private key or a certificate; both are refused, because neither belongs in a gateway. */
export const publicKey = z.string().transform((pem, { addIssue }): PublicKey => {
  const fault = (message: string) => {
    addIssue({ code: 'custom', message });
    return z.NEVER;
  };
  if (!/^\s*-----BEGIN PUBLIC KEY-----/.test(pem)) return fault('must begin with -----BEGIN PUBLIC KEY-----');
  let key: KeyObject;
  try {
    key = createPublicKey(pem);
  } catch {
    return fault('is not a public key in the format PEM');
  }
  const { modulusLength = 0, namedCurve } = key.asymmetricKeyDetails ?? {};
  if (key.asymmetricKeyType === 'rsa' && modulusLength >= SHORTEST_RSA) return { key, algorithm: 'RS256' };
  if (key.asymmetricKeyType === 'ec' && namedCurve === 'prime256v1') return { key, algorithm: 'ES256' };
  if (key.asymmetricKeyType === 'ed25519') return { key, algorithm: 'EdDSA' };
  return fault(`is a key of another kind than ${KINDS}`);
});
