import { WebSocket } from 'ws';
import type { AnyErrorCode } from '../../client/protocol/index.js';
import { STATUS } from '../../server/http/status.js';
import { type AnyFrame, openEventStream } from './event-stream.js';
import { ask, poll } from './poll.js';
import { until } from './until.js';

/** What came of reading a channel: its rows, or the code of the refusal. */
export type Reading = readonly Record<string, unknown>[] | string;

/** Reads channels that have rows from their start, in one way; each of them gets its reading. */
export type WayToRead = (url: string, token: string | undefined, channels: readonly string[]) => Promise<Reading[]>;

const headersOf = (token: string | undefined): Record<string, string> =>
  token === undefined ? {} : { authorization: `Bearer ${token}` };

/** The code of a refusal by HTTP, whose status has to fit. */
export function codeOf(status: number, body: string): string {
  const { code } = (JSON.parse(body) as { error: { code: AnyErrorCode } }).error;
  return status === STATUS[code] ? code : `${code} with status ${status}`;
}

const commands = (shown: object, channels: readonly string[]) => [
  { type: 'connect', id: 0, protocol: 1, ...shown },
  ...channels.map((channel, index) => ({ type: 'subscribe', id: index + 1, channel, since: 'start' })),
];

/** Of frames that answer `commands`; undefined for a channel that was not answered yet. */
function readings(frames: readonly AnyFrame[], channels: readonly string[]): (Reading | undefined)[] {
  const refused = frames.find(({ type, id }) => type === 'error' && (id === 0 || id === undefined))?.code;
  return channels.map((channel, index) => {
    const rows = frames.flatMap((frame) => (frame.channel === channel && frame.events) || []);
    return rows.length > 0
      ? rows
      : (frames.find(({ type, id }) => type === 'error' && id === index + 1)?.code ?? refused);
  });
}

const complete = (found: (Reading | undefined)[]) => (found.includes(undefined) ? null : (found as Reading[]));

async function overWebSocket(url: string, shown: object, channels: readonly string[]): Promise<Reading[]> {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/ws`);
  const frames: AnyFrame[] = [];
  const [connect, ...subscribe] = commands(shown, channels).map((command) => JSON.stringify(command));
  const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()));
  socket.on('open', () => socket.send(connect ?? ''));
  socket.on('message', (data) => {
    const frame = JSON.parse(String(data)) as AnyFrame;
    frames.push(frame);
    if (frame.type === 'connected') for (const command of subscribe) socket.send(command);
  });
  try {
    await until(() => complete(readings(frames, channels)), { what: `readings (${JSON.stringify(frames)})` });
    // Nothing follows a refusal.
    if (socket.readyState === WebSocket.OPEN) {
      socket.send('{"type":"ping","id":999}');
      await until(() => frames.find(({ type }) => type === 'pong'), { what: 'pong' });
    }
    return readings(frames, channels) as Reading[];
  } finally {
    socket.close();
    await closed;
  }
}

const each =
  (read: (url: string, headers: Record<string, string>, channel: string) => Promise<Reading>): WayToRead =>
  (url, token, channels) =>
    Promise.all(channels.map((channel) => read(url, headersOf(token), channel)));

export const WAYS: Readonly<Record<string, WayToRead>> = {
  WebSocket: (url, token, channels) => overWebSocket(url, { token }, channels),

  'WebSocket with a ticket': async (url, token, channels) => {
    const answer = await fetch(`${url}/v1/tickets`, { method: 'POST', headers: headersOf(token) });
    if (!answer.ok) return overWebSocket(url, { token }, channels); // who needs no token gets no ticket
    const { ticket } = (await answer.json()) as { ticket: string };
    return overWebSocket(url, { ticket }, channels);
  },

  'event stream': each(async (url, headers, channel) => {
    const address = `${url}/v1/sse?${new URLSearchParams({ channel, since: 'start' })}`;
    const stream = await openEventStream(address, { headers });
    try {
      if (stream.status === 200) return (await stream.frame('events', channel)).events ?? [];
      await stream.ended;
      return codeOf(stream.status, stream.text());
    } finally {
      stream.close();
    }
  }),

  'event stream by POST': async (url, token, channels) => {
    const body = JSON.stringify(commands({}, channels));
    const stream = await openEventStream(`${url}/v1/sse`, { headers: headersOf(token), body });
    try {
      if (stream.status !== 200) {
        await stream.ended;
        return channels.map(() => codeOf(stream.status, stream.text()));
      }
      const { frames } = stream;
      return await until(() => complete(readings(frames, channels)), { what: `readings (${stream.text()})` });
    } finally {
      stream.close();
    }
  },

  poll: each(async (url, headers, channel) => {
    const { status, frames, text } = await poll(url, [[channel, 'start']], 0, { headers });
    return status === 200 ? frames.flatMap(({ events = [] }) => events) : codeOf(status, text);
  }),

  'poll by POST': async (url, token, channels) => {
    const body = JSON.stringify(commands({ token }, channels));
    const { status, frames, text } = await ask(`${url}/v1/poll?wait=0`, { method: 'POST', body });
    if (status !== 200) return channels.map(() => codeOf(status, text));
    return readings(frames, channels).map((reading) => reading ?? 'no answer');
  },

  'Durable Streams': each(async (url, headers, channel) => {
    const [, stream = '', key = ''] = /^([^:]*):(.*)$/.exec(channel) ?? [];
    const answer = await fetch(`${url}/v1/streams/${stream}/${encodeURIComponent(key)}`, { headers });
    const text = await answer.text();
    return answer.ok ? (JSON.parse(text) as Record<string, unknown>[]) : codeOf(answer.status, text);
  }),

  'Durable Streams, live': each(async (url, headers, channel) => {
    const [, stream = '', key = ''] = /^([^:]*):(.*)$/.exec(channel) ?? [];
    const address = `${url}/v1/streams/${stream}/${encodeURIComponent(key)}?offset=-1&live=long-poll`;
    const answer = await fetch(address, { headers });
    const text = await answer.text();
    return answer.ok ? (JSON.parse(text) as Record<string, unknown>[]) : codeOf(answer.status, text);
  }),
};
