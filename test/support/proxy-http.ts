import { once } from 'node:events';
import {
  createServer,
  type IncomingMessage,
  type OutgoingHttpHeaders,
  type ServerResponse,
  request as send,
} from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import type { Duplex } from 'node:stream';

/** What companies and providers put between a page and a gateway. Each property holds for requests from then on. */
export interface HttpProxy {
  readonly url: string;
  /** What an upgrade gets: its way, a refusal with this status, or no answer at all. */
  upgrades: 'pass' | 'hang' | 403 | 503;
  /** So many bytes of an answer are collected before they go on, its head with the first of them. Infinity: all of it. */
  buffer: number;
  /** Paths that are answered with 403. */
  forbidden: RegExp | null;
  /** The paths that were asked for, upgrades included, in order. */
  readonly asked: string[];
  /** Ends every connection. */
  cut(): void;
  close(): Promise<void>;
}

export interface HttpProxyOptions {
  /** What the paths begin with in front of the proxy, and not behind it. */
  readonly prefix?: string;
  /** Where requests go that are for no API: the pages may be somewhere else. */
  readonly pages?: string;
}

/** A proxy that knows HTTP, in front of `target`, a URL. */
export async function startHttpProxy(
  target: string,
  { prefix = '', pages = target }: HttpProxyOptions = {},
): Promise<HttpProxy> {
  const placeOf = (url: string) => ({ host: new URL(url).hostname, port: Number(new URL(url).port) });
  const pathOf = ({ url = '' }: IncomingMessage) => url.slice(prefix.length);
  const to = placeOf(target);
  const server = createServer((request, response) => forward(request, response));
  const tunnels = new Set<Duplex>();
  server.on('upgrade', (request, socket, head) => tunnel(request, socket, head));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  const proxy: HttpProxy = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    upgrades: 'pass',
    buffer: 0,
    forbidden: null,
    asked: [],
    cut() {
      server.closeAllConnections();
      for (const socket of tunnels) socket.destroy();
    },
    async close() {
      const closed = once(server, 'close');
      server.close();
      proxy.cut();
      await closed;
    },
  };

  function isForbidden({ url = '' }: IncomingMessage): boolean {
    proxy.asked.push(new URL(url, target).pathname);
    return proxy.forbidden?.test(url) === true;
  }

  function forward(near: IncomingMessage, response: ServerResponse): void {
    if (isForbidden(near)) {
      response.writeHead(403).end();
      return;
    }
    const { method, headers } = near;
    const path = pathOf(near);
    const place = /^\/(v1|api)\//.test(path) ? to : placeOf(pages);
    const far = send({ ...place, method, path, headers }, (answer) => passOn(answer, response, proxy.buffer));
    far.on('error', () => response.destroy());
    response.on('close', () => far.destroy());
    near.pipe(far);
  }

  function tunnel(request: IncomingMessage, near: Duplex, head: Buffer): void {
    tunnels.add(near);
    near.on('close', () => tunnels.delete(near));
    near.on('error', () => {});
    const { upgrades } = proxy;
    if (isForbidden(request)) return void near.end('HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n');
    if (upgrades === 'hang') return;
    if (upgrades !== 'pass') return void near.end(`HTTP/1.1 ${upgrades} Refused\r\nContent-Length: 0\r\n\r\n`);
    const far = connect({ ...to, noDelay: true });
    far.on('error', () => near.destroy());
    far.on('close', () => near.destroy());
    near.on('close', () => far.destroy());
    far.write(`${request.method} ${pathOf(request)} HTTP/1.1\r\n${headLines(request)}\r\n\r\n`);
    far.write(head);
    near.pipe(far).pipe(near);
  }

  return proxy;
}

function passOn(answer: IncomingMessage, response: ServerResponse, buffer: number): void {
  const head = () => {
    if (!response.headersSent) response.writeHead(answer.statusCode ?? 502, answer.headers as OutgoingHttpHeaders);
  };
  let held: Buffer[] = [];
  let size = 0;
  const flush = () => {
    head();
    response.write(Buffer.concat(held));
    [held, size] = [[], 0];
  };
  if (buffer === 0) {
    head();
    response.flushHeaders();
  }
  answer.on('data', (chunk: Buffer) => {
    held.push(chunk);
    size += chunk.length;
    if (size >= buffer) flush();
  });
  answer.on('end', () => {
    flush();
    response.end();
  });
  answer.on('error', () => response.destroy());
}

function headLines({ rawHeaders }: IncomingMessage): string {
  const lines: string[] = [];
  for (let at = 0; at < rawHeaders.length; at += 2) lines.push(`${rawHeaders[at]}: ${rawHeaders[at + 1]}`);
  return lines.join('\r\n');
}
