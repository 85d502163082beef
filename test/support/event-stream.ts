import { type IncomingHttpHeaders, type IncomingMessage, request } from 'node:http';
import { until } from './until.js';

/** A frame as a test reads it: the fields of all types. */
export interface AnyFrame {
  readonly type: string;
  readonly id?: number;
  readonly channel?: string;
  readonly from?: number;
  readonly events?: readonly Record<string, unknown>[];
  readonly code?: string;
  readonly [field: string]: unknown;
}

export interface EventStream {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly frames: readonly AnyFrame[];
  /** The `id` of each frame; null where it had none. */
  readonly ids: readonly (string | null)[];
  /** As an `EventSource` keeps it. */
  lastEventId(): string;
  /** Comments so far, the padding included. */
  comments(): number;
  /** All that has come, as text. */
  text(): string;
  /** The seqs of a channel, in the order in which they came. */
  seqs(channel: string): number[];
  /** Waits for a frame of that type (and channel). */
  frame(type: string, channel?: string): Promise<AnyFrame>;
  /** Resolves when the gateway has ended the answer; rejects when it was cut. */
  readonly ended: Promise<void>;
  pause(): void;
  resume(): void;
  close(): void;
}

export interface EventStreamOptions {
  readonly headers?: Record<string, string>;
  /** With it, it is a POST. */
  readonly body?: string;
}

/** Reads `text/event-stream` byte by byte as it comes. Resolves with the head of the answer, whatever that is. */
export async function openEventStream(
  url: string,
  { headers = {}, body }: EventStreamOptions = {},
): Promise<EventStream> {
  const asked = request(url, { agent: false, headers, method: body === undefined ? 'GET' : 'POST' });
  asked.end(body);
  const response = await new Promise<IncomingMessage>((resolve, reject) => {
    asked.once('response', resolve);
    asked.once('error', reject);
  });
  asked.on('error', () => {});
  const frames: AnyFrame[] = [];
  const ids: (string | null)[] = [];
  let comments = 0;
  let lastEventId = '';
  const chunks: string[] = [];
  let rest = '';
  const take = (event: string) => {
    let id: string | null = null;
    for (const line of event.split('\n')) {
      if (line.startsWith(':')) comments += 1;
      if (line.startsWith('id: ')) id = line.slice(4);
      if (!line.startsWith('data: ')) continue;
      frames.push(JSON.parse(line.slice(6)) as AnyFrame);
      ids.push(id);
    }
    lastEventId = id ?? lastEventId;
  };
  response.setEncoding('utf8');
  response.on('data', (chunk: string) => {
    chunks.push(chunk);
    const events = `${rest}${chunk}`.split('\n\n');
    rest = events.pop() ?? '';
    for (const event of events) take(event);
  });
  const ended = new Promise<void>((resolve, reject) => {
    response.on('end', resolve);
    response.on('error', reject);
  });
  ended.catch(() => {}); // most tests close it themselves
  return {
    status: response.statusCode ?? 0,
    headers: response.headers,
    frames,
    ids,
    lastEventId: () => lastEventId,
    comments: () => comments,
    text: () => chunks.join(''),
    seqs: (channel) => seqsOf(frames, channel),
    frame: (type, channel) =>
      until(() => frames.find((frame) => frame.type === type && (channel === undefined || frame.channel === channel)), {
        what: `${type} ${channel ?? ''} (there is ${JSON.stringify(frames).slice(0, 500)})`,
      }),
    ended,
    pause: () => void response.socket.pause(),
    resume: () => void response.socket.resume(),
    close: () => void asked.destroy(),
  };
}

/** The seqs of a channel in frames, in the order in which they came. */
export function seqsOf(frames: readonly AnyFrame[], channel: string): number[] {
  return frames
    .filter((frame) => frame.type === 'events' && frame.channel === channel)
    .flatMap(({ from = 0, events = [] }) => events.map((_, index) => from + index));
}
