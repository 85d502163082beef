import type { Client, StreamEvent, SubscribeOptions, Subscription } from '../../client/index.js';
import { until } from './until.js';

export interface Follower {
  readonly subscription: Subscription;
  readonly events: StreamEvent[];
  readonly resets: string[];
  /** Waits until so many events have come. */
  count(events: number, deadlineMs?: number): Promise<void>;
  live(): Promise<void>;
}

/** Subscribes and records all that comes, in the order in which it comes. */
export function follow(
  client: Client,
  channel: string,
  since: SubscribeOptions['since'] = 'start',
  onState: SubscribeOptions['onState'] = () => {},
): Follower {
  const events: StreamEvent[] = [];
  const resets: string[] = [];
  const subscription = client.subscribe(channel, {
    ...(since === undefined ? {} : { since }),
    onEvent: (event) => events.push(event),
    onReset: ({ reason, position }) => resets.push(`${reason} ${position}`),
    onState,
  });
  return {
    subscription,
    events,
    resets,
    count: async (wanted, deadlineMs = 20_000) => {
      await until(() => events.length >= wanted, {
        deadlineMs,
        what: `${wanted} events of ${channel} (there are ${events.length}, state ${subscription.state})`,
      });
    },
    live: async () => {
      await until(() => subscription.state === 'live', { what: `${channel} to be live` });
    },
  };
}

/** The seqs from `first` on, without a hole: what any subscriber must have seen. */
export function seqs(first: number, count: number): number[] {
  return Array.from({ length: count }, (_, index) => first + index);
}
