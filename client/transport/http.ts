import type { Fetch } from '../ground/platform.js';
import type { Command, Frame } from '../protocol/index.js';

/** A response that is not the expected one. `frame`: the error that a gateway gave; null if it was no gateway. */
export class HttpRefusal extends Error {
  readonly frame: Frame | null;

  constructor(status: number, frame: Frame | null) {
    super(`HTTP status ${status}`);
    this.frame = frame;
  }
}

/**
 * The URL of a path of the gateway, for `http` or `ws`: `ws://host/base` gives `http://host/base/v1/poll`. Throws
 * `TypeError` for what is no URL of a gateway.
 */
export function gatewayUrl(url: string, protocol: 'http' | 'ws', path: string): string {
  if (!/^\s*(http|ws)s?:/i.test(url)) throw new TypeError(`url: must begin with http or ws: ${url}`);
  const address = new URL(url);
  address.protocol = address.protocol.replace(/^(http|ws)/, protocol);
  address.pathname = address.pathname.replace(/\/$/, '') + path;
  return address.href;
}

/** Posts commands. Rejects with `HttpRefusal` unless the response has the expected content type. */
export async function post(
  fetch: Fetch,
  url: string,
  commands: readonly Command[],
  contentType: string,
  signal: AbortSignal,
): Promise<Response> {
  const response = await fetch(url, {
    method: 'POST',
    body: JSON.stringify(commands),
    // `application/json` would cost a preflight request each time the gateway is of another origin.
    headers: { 'Content-Type': 'text/plain' },
    cache: 'no-store',
    signal,
  });
  if (response.ok && response.headers.get('Content-Type')?.startsWith(contentType)) return response;
  throw new HttpRefusal(response.status, await readError(response));
}

/** The error of a response, as the frame that it would be on a connection; null if a proxy answered. */
async function readError(response: Response): Promise<Frame | null> {
  try {
    const { error } = (await response.json()) as { error: { code: string; message?: string } };
    if (typeof error.code !== 'string') return null;
    const seconds = Number.parseInt(response.headers.get('Retry-After') ?? '', 10);
    const retryAfter = seconds >= 0 ? { retryAfter: 1000 * seconds } : {};
    return { type: 'error', code: error.code, message: error.message ?? '', ...retryAfter };
  } catch {
    return null;
  }
}
