import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import pg from 'pg';
import { TEST_SESSION } from '../support/database.js';

/**
 * Stands in for the writing half of the protocol, which Rowcast has as SQL: a PUT becomes a row that a channel refers to, a POST
 * an INSERT, a DELETE a DELETE. What is read comes from the gateway with its status and headers. Only the message is
 * taken out of the column of its row, because an event is a row and the tests write and expect bare messages; and where a
 * test calls its messages text or bytes, they travel as a JSON string.
 */

/** So that a test that waits for the end of a long poll does not wait long; in seconds. */
const LONG_POLL = 1;

const SCHEMA = `
  CREATE TABLE files (name text PRIMARY KEY);
  CREATE TABLE messages (name text NOT NULL REFERENCES files ON DELETE CASCADE, message json NOT NULL);
  SELECT rowcast.attach('messages', 'name');`;

const FOREIGN_KEY = '23503';

export interface StandIn {
  readonly url: string;
  stop(): Promise<void>;
}

export async function startStandIn(databaseUrl: string, gatewayUrl: string, token: string): Promise<StandIn> {
  const pool = new pg.Pool({ connectionString: databaseUrl, application_name: TEST_SESSION, max: 4 });
  await pool.query(SCHEMA);
  const contentTypes = new Map<string, string>();
  const target = (name: string) => `${gatewayUrl}/v1/streams/messages/${encodeURIComponent(name)}`;
  const headers = { Authorization: `Bearer ${token}` };

  const tail = async (name: string) => {
    const head = await fetch(target(name), { method: 'HEAD', headers });
    return { 'Stream-Next-Offset': head.headers.get('Stream-Next-Offset') ?? '' };
  };

  const append = async (name: string, type: string, body: Buffer) => {
    const messages = encode(type, body);
    const values = messages.map((message) => JSON.stringify(message));
    await pool.query('INSERT INTO messages (name, message) SELECT $1, unnest($2::json[])', [name, values]);
  };

  const put = async (name: string, type: string, body: Buffer, response: ServerResponse) => {
    const { rowCount } = await pool.query('INSERT INTO files VALUES ($1) ON CONFLICT DO NOTHING', [name]);
    if (rowCount === 1) contentTypes.set(name, type);
    if (rowCount === 1) await append(name, type, body);
    response.writeHead(rowCount === 1 ? 201 : 200, { 'Content-Type': type, ...(await tail(name)) });
    response.end();
  };

  const post = async (name: string, type: string, body: Buffer, response: ServerResponse) => {
    await append(name, type, body);
    response.writeHead(204, await tail(name)).end();
  };

  const remove = async (name: string, response: ServerResponse) => {
    const { rowCount } = await pool.query('DELETE FROM files WHERE name = $1', [name]);
    response.writeHead(rowCount === 1 ? 204 : 404).end();
  };

  const read = async (name: string, request: IncomingMessage, response: ServerResponse) => {
    const { search } = new URL(request.url ?? '', gatewayUrl);
    const shorter = search.includes('live=long-poll') ? `&timeout=${LONG_POLL}` : '';
    const given = Object.entries(request.headers).filter(([header]) => PASSED_ON.test(header));
    const leaving = new AbortController();
    response.once('close', () => leaving.abort());
    const answer = await fetch(`${target(name)}${search}${shorter}`, {
      method: request.method ?? 'GET',
      headers: { ...(Object.fromEntries(given) as Record<string, string>), ...headers },
      signal: leaving.signal,
    });
    const type = contentTypes.get(name) ?? 'application/json';
    for (const [header, value] of answer.headers) {
      if (!HOP.test(header)) response.setHeader(header, value);
    }
    const json = answer.headers.get('content-type') === 'application/json';
    if (json && answer.ok) response.setHeader('Content-Type', type);
    response.statusCode = answer.status;
    if (answer.headers.get('content-type') === 'text/event-stream' && answer.body !== null) {
      response.flushHeaders();
      let rest = '';
      for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
        const events = `${rest}${chunk}`.split('\n\n');
        rest = events.pop() ?? '';
        for (const event of events) response.write(`${decodeEvent(type, event)}\n\n`);
      }
      response.end();
    } else if (json && answer.status === 200 && request.method === 'GET') {
      response.end(decode(type, (await answer.json()) as Row[]));
    } else {
      response.end(Buffer.from(await answer.arrayBuffer()));
    }
  };

  const handle = async (request: IncomingMessage, response: ServerResponse) => {
    const name = new URL(request.url ?? '', gatewayUrl).pathname.replace('/v1/stream/', '');
    const type = request.headers['content-type'] ?? 'application/octet-stream';
    const body = Buffer.from(await text(request.setEncoding('latin1')), 'latin1');
    if (request.method === 'PUT') return put(name, type, body, response);
    if (request.method === 'POST') return post(name, type, body, response);
    if (request.method === 'DELETE') return remove(name, response);
    return read(name, request, response);
  };

  const server = createServer((request, response) => {
    handle(request, response).catch((error: { code?: string }) => {
      if (response.headersSent) response.destroy();
      else response.writeHead(error.code === FOREIGN_KEY ? 404 : 500).end(String(error));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async stop() {
      server.closeAllConnections();
      server.close();
      await pool.end();
    },
  };
}

interface Row {
  readonly message: unknown;
}

const PASSED_ON = /^(?:if-none-match|origin|access-control-.*|cache-control)$/;

/** What belongs to one connection and one encoding of a body. */
const HOP = /^(?:connection|keep-alive|transfer-encoding|content-length)$/;

const isJson = (type: string) => type.toLowerCase().startsWith('application/json');

/** The messages of a body. */
function encode(type: string, body: Buffer): unknown[] {
  if (body.length === 0) return [];
  if (!isJson(type)) return [body.toString('latin1')];
  const value: unknown = JSON.parse(body.toString());
  return Array.isArray(value) ? value : [value];
}

/** The body of an answer. */
function decode(type: string, rows: readonly Row[]): Buffer {
  const messages = rows.map(({ message }) => message);
  return isJson(type) ? Buffer.from(JSON.stringify(messages)) : Buffer.from(messages.join(''), 'latin1');
}

/** An event of a stream of events. */
function decodeEvent(type: string, event: string): string {
  if (!event.startsWith('event: data\n')) return event;
  const json = event
    .split('\n')
    .slice(1)
    .map((line) => line.replace(/^data:/, ''))
    .join('\n');
  const lines = decode(type, JSON.parse(json) as Row[])
    .toString()
    .split('\n');
  return `event: data\n${lines.map((line) => `data:${line}`).join('\n')}`;
}
