import type { IncomingMessage } from 'node:http';
import { parseCookie } from 'cookie';

/** Returns the token of a request, or undefined if it has none. */
export type TokenOf = (request: Pick<IncomingMessage, 'headers'>) => string | undefined;

/**
 * Reads the token from `Authorization: Bearer …`, or else from the cookie of this name. The origin of the request must
 * have been checked before, because browsers send cookies for pages of every origin.
 */
export function tokenReader(cookie: string | undefined): TokenOf {
  return ({ headers }) => {
    const bearer = /^Bearer\b *(.*)$/i.exec(headers.authorization ?? '')?.[1];
    if (bearer !== undefined || cookie === undefined || isCrossSite(headers)) return bearer;
    return parseCookie(headers.cookie ?? '')[cookie];
  };
}

/**
 * Whether a page of another site caused the request, by a link or an image. Such a request has no Origin header but carries
 * the cookie. Only Sec-Fetch-Site distinguishes it from a typed address and from requests of the gateway's own pages.
 */
function isCrossSite({ origin, 'sec-fetch-site': site = 'none' }: IncomingMessage['headers']): boolean {
  return origin === undefined && site !== 'none' && site !== 'same-origin';
}
