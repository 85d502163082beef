import type { IncomingMessage } from 'node:http';
import { parseCookie } from 'cookie';

/** The token that a request shows, if it shows one. */
export type TokenOf = (request: Pick<IncomingMessage, 'headers'>) => string | undefined;

/**
 * `Authorization: Bearer …`, or else the cookie of that name. The origin of a request was admitted before: no page
 * that is not has come so far.
 */
export function showing(cookie: string | undefined): TokenOf {
  return ({ headers }) => {
    const borne = /^Bearer\b *(.*)$/i.exec(headers.authorization ?? '')?.[1];
    if (borne !== undefined || cookie === undefined || isOfAnother(headers)) return borne;
    return parseCookie(headers.cookie ?? '')[cookie];
  };
}

/**
 * A page of another site has made the browser ask, by a link or an image: such a request says no origin, and brings the cookie
 * along. Only by this do browsers tell it from what somebody typed, and from what a page of the gateway's own asks.
 */
function isOfAnother({ origin, 'sec-fetch-site': site = 'none' }: IncomingMessage['headers']): boolean {
  return origin === undefined && site !== 'none' && site !== 'same-origin';
}
