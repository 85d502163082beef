import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type CryptoKey, exportJWK, exportSPKI, generateKeyPair, type JWK, type JWTPayload, SignJWT } from 'jose';

/** Whatever `SignJWT` takes; `exp` in seconds from now, or none. */
export type Claims = Omit<JWTPayload, 'exp'> & { exp?: number | null };

export interface SigningKey {
  readonly kid: string;
  readonly algorithm: string;
  readonly public: JWK;
  /** The public key as PEM. */
  readonly pem: string;
  sign(claims?: Claims, header?: Record<string, unknown>): Promise<string>;
}

/** Signs what a gateway accepts, unless the claims say otherwise. */
export function signWith(key: CryptoKey | Uint8Array, header: { alg: string; kid?: string }) {
  return ({ exp = 600, ...claims }: Claims = {}, more: Record<string, unknown> = {}): Promise<string> => {
    const ends = exp === null ? {} : { exp: Math.floor(Date.now() / 1000) + exp };
    return new SignJWT({ sub: 'ann', ...claims, ...ends }).setProtectedHeader({ ...header, ...more }).sign(key);
  };
}

export async function signingKey(algorithm: 'RS256' | 'ES256' | 'EdDSA', kid: string): Promise<SigningKey> {
  const { publicKey, privateKey } = await generateKeyPair(algorithm, { extractable: true });
  return {
    kid,
    algorithm,
    public: { ...(await exportJWK(publicKey)), kid, alg: algorithm, use: 'sig' },
    pem: await exportSPKI(publicKey),
    sign: signWith(privateKey, { alg: algorithm, kid }),
  };
}

/** Publishes keys over HTTP, as an issuer of tokens does. */
export class Issuer {
  readonly #server: Server;
  url = '';
  /** What it answers with. */
  answer: { status: number; body: string } = { status: 200, body: '{"keys":[]}' };
  /** How often it was asked. */
  asked = 0;

  private constructor() {
    this.#server = createServer((_request, response) => {
      this.asked += 1;
      response.writeHead(this.answer.status, { 'Content-Type': 'application/json' }).end(this.answer.body);
    });
  }

  static async start(keys: readonly SigningKey[]): Promise<Issuer> {
    const issuer = new Issuer();
    issuer.publish(...keys);
    issuer.#server.listen(0, '127.0.0.1');
    await once(issuer.#server, 'listening');
    issuer.url = `http://127.0.0.1:${(issuer.#server.address() as AddressInfo).port}/keys`;
    return issuer;
  }

  publish(...keys: readonly SigningKey[]): void {
    this.answer = { status: 200, body: JSON.stringify({ keys: keys.map((key) => key.public) }) };
  }

  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }
}
