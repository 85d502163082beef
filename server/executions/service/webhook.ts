import { createHmac } from 'node:crypto';

/** How long the receiver may take to answer, in milliseconds. */
const TIMEOUT = 10_000;

const PREFIX = 'whsec_';

/** The signature of a message by Standard Webhooks. `timestamp`: of this attempt, in seconds since 1970. */
export function signatureOf(secret: string, id: string, timestamp: number, body: string): string {
  const key = Buffer.from(secret.slice(PREFIX.length), 'base64');
  return `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;
}

export interface WebhookOptions {
  readonly url: string;
  /** `whsec_` and the key in base64. */
  readonly secret: string;
}

/** Sends messages to a URL, signed as https://www.standardwebhooks.com specifies. */
export class Webhook {
  readonly #url: string;
  readonly #secret: string;

  constructor({ url, secret }: WebhookOptions) {
    this.#url = url;
    this.#secret = secret;
  }

  /**
   * Returns null when the receiver has the message, or why it does not. The reason holds neither the URL, which may be a
   * secret, nor what the receiver answered. A message that is sent again has the same id.
   */
  async send(id: string, body: string, stopped: AbortSignal): Promise<string | null> {
    const timestamp = Math.floor(Date.now() / 1000);
    try {
      const response = await fetch(this.#url, {
        method: 'POST',
        headers: {
          'Content-Type': 'application/json',
          'webhook-id': id,
          'webhook-timestamp': String(timestamp),
          'webhook-signature': signatureOf(this.#secret, id, timestamp, body),
        },
        body,
        // The operator has chosen this URL, and no other.
        redirect: 'manual',
        signal: AbortSignal.any([AbortSignal.timeout(TIMEOUT), stopped]),
      });
      await response.body?.cancel();
      return response.ok ? null : `status ${response.status}`;
    } catch (error) {
      const { name, cause } = error as Error;
      return (cause as NodeJS.ErrnoException | undefined)?.code ?? name;
    }
  }
}
