import { WebSocket } from 'ws';
import { openEventStream } from './event-stream.js';
import { pollAddress } from './poll.js';
import { until } from './until.js';

/** What a client shows, and how it asks; the answer as status (or close code) and error code, or `in`. */
export type Ask = (url: string, token: string | undefined, channel: string) => Promise<string>;

const headersOf = (token: string | undefined): Record<string, string> =>
  token === undefined ? {} : { authorization: `Bearer ${token}` };

async function outcome(answer: Response): Promise<string> {
  const body = (await answer.json().catch(() => ({}))) as { error?: { code: string } };
  return answer.ok ? 'in' : `${answer.status} ${body.error?.code}`;
}

const getting = (path: (channel: string) => string, method = 'GET'): Ask => {
  return async (url, token, channel) =>
    outcome(await fetch(`${url}${path(channel)}`, { method, headers: headersOf(token) }));
};

/** The first `connect` over a WebSocket: a refusal is told by a frame, and then by the close code. */
export function connectWith(url: string, shown: { token?: string | undefined; ticket?: string }): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/v1/ws`);
    const codes: string[] = [];
    socket.on('error', reject);
    socket.on('open', () => socket.send(JSON.stringify({ type: 'connect', id: 0, protocol: 1, ...shown })));
    socket.on('message', (data) => {
      const { type, code } = JSON.parse(String(data)) as { type: string; code?: string };
      codes.push(type === 'connected' ? 'in' : String(code));
      if (type === 'connected' || code === 'frame_too_large' || code === 'unavailable') socket.close(); // it may try again
    });
    socket.on('close', (close) => resolve(codes[0] === 'in' ? 'in' : `${close} ${codes.join(' ')}`));
  });
}

/** Every way in, with a token. */
export const DOORS: Readonly<Record<string, Ask>> = {
  websocket: (url, token) => connectWith(url, { token }),
  poll: (url, token, channel) => getting(() => pollAddress('', [[channel, 'now']], 0))(url, token, channel),
  'poll by POST': async (url, token) => {
    const body = JSON.stringify([{ type: 'connect', id: 0, protocol: 1, token }]);
    return outcome(await fetch(`${url}/v1/poll?wait=0`, { method: 'POST', body }));
  },
  /** An event stream that is to be asked for again is opened all the same, and says so in it. */
  'event stream': async (url, token, channel) => {
    const stream = await openEventStream(`${url}/v1/sse?channel=${channel}`, { headers: headersOf(token) });
    try {
      if (stream.status !== 200) return `${stream.status} ${JSON.parse(await textOf(stream)).error.code}`;
      const said = () => stream.frames.find(({ type }) => type === 'connected' || type === 'error');
      const { type, code } = await until(said, { what: 'the first frame' });
      return type === 'connected' ? 'in' : `200 ${code}`;
    } finally {
      stream.close();
    }
  },
  'Durable Streams': getting((channel) => `/v1/streams/${channel.replace(':', '/')}`),
  channels: getting(() => '/v1/channels'),
  tickets: getting(() => '/v1/tickets', 'POST'),
};

async function textOf(stream: Awaited<ReturnType<typeof openEventStream>>): Promise<string> {
  await stream.ended;
  return stream.text();
}
