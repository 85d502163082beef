import type { AnyFrame } from './event-stream.js';

/** A channel and where to begin. */
export type Wanted = readonly (readonly [channel: string, since: string])[];

export interface PollAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly frames: readonly AnyFrame[];
  readonly positions: Readonly<Record<string, string>>;
}

export function pollAddress(url: string, wanted: Wanted, wait?: number): string {
  const query = wanted.flatMap(([channel, since]) => [
    ['channel', channel],
    ['since', since],
  ]);
  return `${url}/v1/poll?${new URLSearchParams([...query, ...(wait === undefined ? [] : [['wait', `${wait}`]])])}`;
}

/** One request and its answer; without an answer of frames, an empty one. */
export async function ask(address: string, init: RequestInit = {}): Promise<PollAnswer> {
  const response = await fetch(address, init);
  const text = await response.text();
  const { frames = [], positions = {} } = (text === '' ? {} : JSON.parse(text)) as Partial<PollAnswer>;
  return { status: response.status, headers: response.headers, text, frames, positions };
}

/** By GET, as anybody can. */
export function poll(url: string, wanted: Wanted, wait?: number, init?: RequestInit): Promise<PollAnswer> {
  return ask(pollAddress(url, wanted, wait), init);
}
