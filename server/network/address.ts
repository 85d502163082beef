import type { IncomingMessage } from 'node:http';
import ipaddr from 'ipaddr.js';
import { parseAddress } from './forwarded.js';

/** The network that an address stands for: IPv4 as it is, IPv6 the /64 that one host may choose from; else null. */
function networkOf(text: string): string | null {
  const parsed = parseAddress(text);
  if (parsed === null) return null;
  if (parsed.kind() === 'ipv4') return parsed.toString();
  const prefix = parsed.toByteArray().map((byte, index) => (index < 8 ? byte : 0));
  return `${ipaddr.fromByteArray(prefix)}/64`;
}

/**
 * Whose connection it is, for the limits by address. Each trusted proxy has added the address of its peer to the
 * right of `X-Forwarded-For`; what is further left anybody can write.
 */
export function addressOf(
  { socket, headers }: Pick<IncomingMessage, 'headers'> & { socket: { remoteAddress?: string | undefined } },
  trustedProxies: number,
): string {
  const peer = socket.remoteAddress ?? '';
  const way = [...String(headers['x-forwarded-for'] ?? '').split(','), peer];
  const client = trustedProxies === 0 ? peer : (way.at(-1 - trustedProxies) ?? way[0] ?? '');
  return networkOf(client) ?? networkOf(peer) ?? peer;
}
