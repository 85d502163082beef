import type { Command, Frame } from '../protocol/index.js';
import { Refused } from './requests.js';

export type Fetch = typeof globalThis.fetch;

/** `http://host`, `ws://host` or `https://host/path` → the address of the gateway's `path` there, for `http` or `ws`. Throws `TypeError`. */
export function addressOf(url: string, protocol: 'http' | 'ws', path: string): string {
  if (!/^\s*(http|ws)s?:/i.test(url)) throw new TypeError(`url: neither http nor ws: ${url}`);
  const address = new URL(url);
  address.protocol = address.protocol.replace(/^(http|ws)/, protocol);
  address.pathname = address.pathname.replace(/\/$/, '') + path;
  return address.href;
}

/** Posts commands. Rejects with `Refused` where the answer is not the one that was asked for. */
export async function post(
  fetch: Fetch,
  address: string,
  commands: readonly Command[],
  type: string,
  signal: AbortSignal,
): Promise<Response> {
  const response = await fetch(address, {
    method: 'POST',
    body: JSON.stringify(commands),
    // As `application/json` each request to another origin would cost a second one.
    headers: { 'Content-Type': 'text/plain' },
    cache: 'no-store',
    signal,
  });
  if (response.ok && response.headers.get('Content-Type')?.startsWith(type)) return response;
  throw new Refused(response.status, await readError(response));
}

/** The error that a gateway answered with, as the frame that it would be on a connection. */
async function readError(response: Response): Promise<Frame | null> {
  try {
    const { error } = (await response.json()) as { error: { code: string; message?: string } };
    if (typeof error.code !== 'string') return null;
    const seconds = Number.parseInt(response.headers.get('Retry-After') ?? '', 10);
    const retryAfter = seconds >= 0 ? { retryAfter: 1000 * seconds } : {};
    return { type: 'error', code: error.code, message: error.message ?? '', ...retryAfter };
  } catch {
    return null; // a proxy's page
  }
}
