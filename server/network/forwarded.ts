import ipaddr from 'ipaddr.js';

/** What proxies say of the way that a request has come. */
export interface Forwarded {
  readonly forwarded?: string | undefined;
  readonly 'x-forwarded-for'?: string | string[] | undefined;
}

/** Some proxies write a port as well: with it, every connection would be an address of its own. */
const WITH_PORT = /^\[(.+)\](?::\d+)?$|^([\d.]+):\d+$/;

/** An address as proxies write it; null where it is none, such as `unknown`. */
export function parseAddress(text: string): ipaddr.IPv4 | ipaddr.IPv6 | null {
  const address = text.trim().replace(WITH_PORT, '$1$2');
  return ipaddr.isValid(address) ? ipaddr.process(address) : null;
}

/** For whom a request is. Anybody can write that: it may only count against whoever asks. */
function askers({ forwarded = '', 'x-forwarded-for': listed = '' }: Forwarded): string[] {
  const pairs = forwarded.split(/[;,]/).map((pair) => pair.replaceAll('"', '').split('=')); // RFC 7239
  const named = pairs.filter(([name = '']) => name.trim().toLowerCase() === 'for').map(([, value = '']) => value);
  return [...String(listed).split(','), ...named].filter((address) => address.trim() !== '');
}

/** Whether a proxy asks for somebody who is not on this machine, or whom it does not tell. */
export function isForAnother(headers: Forwarded): boolean {
  return askers(headers).some((address) => parseAddress(address)?.range() !== 'loopback');
}
