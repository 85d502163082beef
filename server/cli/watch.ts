import { randomUUID } from 'node:crypto';
import { createClient, type StreamEvent } from '@rowcast/client';
import type { Config } from '../settings/config.js';
import { Recorder } from '../verify/recorder.js';
import { complain, onOneLine, print } from './output.js';

export interface WatchOptions {
  readonly since: string;
  readonly json: boolean;
  readonly url: string;
  /** The file in which the history of this session is recorded. */
  readonly record?: string;
}

/** `rowcast watch`: prints the events of a channel. It uses the client library like any other client. */
export async function watch(
  channel: string,
  { since, json, url, record }: WatchOptions,
  { token }: Config,
): Promise<void> {
  let last = '';
  /** A reason that is repeated with every attempt is printed once. */
  const report = (line: string) => {
    if (line !== last) complain(onOneLine(line));
    last = line;
  };
  const client = createClient({
    url,
    ...(token === undefined ? {} : { token }),
    onState(state, error) {
      if (state === 'waiting' && error !== undefined) report(`not connected (${error.message}), retrying`);
    },
  });
  try {
    await new Promise<void>((resolve, reject) => {
      process.once('SIGINT', resolve);
      process.once('SIGTERM', resolve);
      const recorder = record === undefined ? undefined : new Recorder(record, { onError: reject });
      const history = recorder?.begin(`watch-${randomUUID().slice(0, 8)}`, channel, since);
      const subscription = client.subscribe(channel, {
        since,
        onState(state, error) {
          if (state === 'replaying') history?.subscribed(subscription.position);
          if (state === 'live') report(`live at ${subscription.position}`);
          if (state === 'waiting' && error !== undefined) report(`not subscribed (${error.message}), retrying`);
          if (state === 'closed' && error !== undefined) reject(error);
        },
        onReset(reset) {
          history?.reset(reset);
          report(`reset (${reset.reason}): continuing after ${reset.position}`);
        },
        onEvent(event) {
          history?.event(event);
          print(json ? JSON.stringify(event) : describe(event));
        },
      });
      // On exit, because it covers every way to end: Ctrl-C, an error, or a closed pipe.
      process.once('exit', () => {
        history?.end(subscription.position);
        recorder?.close();
      });
    });
  } finally {
    client.close();
  }
}

/** Formats an event as one line: seq, time, type, and the message or the whole row. */
function describe({ seq, type, row }: StreamEvent): string {
  const time = typeof row.created_at === 'string' ? row.created_at.slice(11, 23) : '';
  const level = typeof row.log_level === 'string' && row.log_level !== 'info' ? row.log_level.toUpperCase() : '';
  const text = typeof row.message === 'string' ? row.message : JSON.stringify(row.data ?? row);
  return [`#${seq}`, time, type ?? '', level, text]
    .filter((part) => part !== '')
    .map(onOneLine)
    .join('  ');
}
