import ipaddr from 'ipaddr.js';

/** Headers in which proxies name the client of a request. */
export interface Forwarded {
  readonly forwarded?: string | undefined;
  readonly 'x-forwarded-for'?: string | string[] | undefined;
}

/** Some proxies append the port. With it, every connection would have an address of its own. */
const WITH_PORT = /^\[(.+)\](?::\d+)?$|^([\d.]+):\d+$/;

/** Parses an address as proxies write it; null for anything else, such as `unknown`. */
export function parseAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  const address = text.trim().replace(WITH_PORT, '$1$2');
  return ipaddr.isValid(address) ? ipaddr.process(address) : null;
}

/** Addresses that proxies name. They are not trusted, because every client can send these headers, so they may only restrict a request. */
function clientAddresses({ forwarded = '', 'x-forwarded-for': listed = '' }: Forwarded): string[] {
  const pairs = forwarded.split(/[;,]/).map((pair) => pair.replaceAll('"', '').split('=')); // RFC 7239
  const named = pairs.filter(([name = '']) => name.trim().toLowerCase() === 'for').map(([, value = '']) => value);
  return [...String(listed).split(','), ...named].filter((address) => address.trim() !== '');
}

/** Whether a proxy forwards the request for a client that is not on this machine, or does not name it. */
export function isForwardedForOthers(headers: Forwarded): boolean {
  return clientAddresses(headers).some((address) => parseAddress(address)?.range() !== 'loopback');
}
