import type { IncomingMessage } from 'node:http';
import ipaddr from 'ipaddr.js';
import { parseAddress } from './forwarded.js';

/** The network of an address that limits apply to: an IPv4 address itself, or the IPv6 /64 that one host may choose from; null if it is no address. */
function networkOf(text: string): string | null {
  const parsed = parseAddress(text);
  if (parsed === null) return null;
  if (parsed.kind() === 'ipv4') return parsed.toString();
  const prefix = parsed.toByteArray().map((byte, index) => (index < 8 ? byte : 0));
  return `${ipaddr.fromByteArray(prefix)}/64`;
}

/** The address of the peer of a socket, for bounds by address. */
export function addressOf({ remoteAddress = '' }: { readonly remoteAddress?: string | undefined }): string {
  return networkOf(remoteAddress) ?? remoteAddress;
}

/**
 * The address of a client, for the limits by address. Each trusted proxy has appended the address of its peer to
 * `X-Forwarded-For`; entries further left are written by the client and not trusted.
 */
export function clientAddress(
  { socket, headers }: Pick<IncomingMessage, 'headers'> & { socket: { remoteAddress?: string | undefined } },
  trustedProxies: number,
): string {
  const peer = socket.remoteAddress ?? '';
  const hops = [...String(headers['x-forwarded-for'] ?? '').split(','), peer];
  const client = trustedProxies === 0 ? peer : (hops.at(-1 - trustedProxies) ?? hops[0] ?? '');
  return networkOf(client) ?? networkOf(peer) ?? peer;
}
