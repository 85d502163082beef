/** The token of this page, if the gateway wants one, and requests to its HTTP API. */
import { RowcastError } from '../ground/error.js';
import { urlOf } from './places.js';

/** Of the tab alone, and gone with it. Never in the address. */
const KEY = 'rowcast token';

export const tokenNow = () => sessionStorage.getItem(KEY) ?? undefined;

export function setToken(token: string): void {
  if (token === '') sessionStorage.removeItem(KEY);
  else sessionStorage.setItem(KEY, token);
}

/** When the token expires, in milliseconds since 1970; null where it does not say. Only the gateway can say whether it is good. */
export function tokenExpiry(): number | null {
  const [, claims = ''] = tokenNow()?.split('.') ?? [];
  try {
    const { exp } = JSON.parse(atob(claims.replaceAll('-', '+').replaceAll('_', '/')));
    return typeof exp === 'number' ? exp * 1_000 : null;
  } catch {
    return null;
  }
}

async function ask(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  const token = tokenNow();
  if (token !== undefined) headers.set('Authorization', `Bearer ${token}`);
  try {
    return await fetch(urlOf(path), { ...init, headers });
  } catch (cause) {
    throw new RowcastError('unavailable', `the gateway does not answer: ${String(cause)}`);
  }
}

/** The answer of a path as JSON. Rejects with `RowcastError`. */
export const askJson = <T>(path: string, signal: AbortSignal | null = null): Promise<T> =>
  jsonOf(ask(path, { signal }));

/** Changes something, with a body as JSON. Resolves to the answer; rejects with `RowcastError`. */
export const sendJson = <T>(method: string, path: string, body?: unknown): Promise<T> =>
  jsonOf(
    ask(path, {
      method,
      ...(body !== undefined && { headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) }),
    }),
  );

async function jsonOf<T>(asked: Promise<Response>): Promise<T> {
  const response = await asked;
  const body = await response.json().catch((cause: unknown) => {
    if (response.ok) throw new RowcastError('unavailable', `the response broke off: ${String(cause)}`);
    return {};
  });
  if (response.ok) return body as T;
  const { code = 'unavailable', message, detail } = body.error ?? body;
  throw new RowcastError(code, message ?? detail ?? response.statusText);
}

export async function askText(path: string, signal: AbortSignal | null = null): Promise<string> {
  return (await ask(path, { signal })).text();
}
