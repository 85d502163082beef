'use client';
import { useEffect, useRef, useState } from 'react';
import type { Row } from '../protocol/index.js';
import type { ChannelOptions, Fold, Live, LogFilter, LogWindow, Rows } from '../store/index.js';
import type { StreamEvent } from '../subscription/subscription.js';
import { useRowcast } from './provider.js';
import { useLive, useValue } from './read.js';

export interface UseChannelOptions<R extends object = Row, T = Rows<R>> extends ChannelOptions<R> {
  /** False: nothing is subscribed to, and the status is `idle`. */
  readonly enabled?: boolean | undefined;
  /** What is made of the rows. A result with equal entries renders nothing. */
  readonly select?: ((rows: Rows<R>) => T) | undefined;
}

/** The newest events of a channel; null: of none. However many components show it, it is subscribed to once. */
export function useChannel<R extends object = Row, T = Rows<R>>(
  channel: string | null,
  options: UseChannelOptions<R, T> = {},
): Live<T> {
  const { since, keep, enabled = true, select } = options;
  const store = useRowcast();
  const schema = useFirst(options.schema, channel);
  return useLive(channel !== null && enabled ? store.channel(channel, { since, keep, schema }) : null, select);
}

/** Calls `listener` with each new event of a type, `*` for all: for effects such as a sound. Never with an old one. */
export function useChannelEvent<R extends object = Row>(
  channel: string | null,
  type: string,
  listener: (event: StreamEvent<R>) => void,
): void {
  const store = useRowcast();
  const latest = useRef(listener);
  useEffect(() => {
    latest.current = listener;
  });
  useEffect(() => {
    if (channel === null) return;
    return store.listen<R>(channel, (event) => {
      if (type === '*' || event.type === type) latest.current(event);
    });
  }, [store, channel, type]);
}

/** What a fold computes from all events of a channel. A fold that is written inline is kept for as long as the channel is the same. */
export function useFold<S, R extends object = Row, T = S>(
  channel: string | null,
  fold: Fold<S, R>,
  select?: (state: S) => T,
): Live<T> {
  const store = useRowcast();
  const first = useFirst(fold, channel);
  return useLive(channel === null ? null : store.fold(channel, first), select);
}

/** A whole channel as a list, of which only what is shown is loaded: say so with its `show`. */
export function useLog<R extends object = Row>(channel: string, filter?: LogFilter): LogWindow<R> {
  return useValue(useRowcast().log<R>(channel, filter));
}

/** The value of the first render with this key: one that is written inline is another one with each render. */
function useFirst<T>(value: T, key: unknown): T {
  const [first, setFirst] = useState({ value, key });
  if (first.key === key) return first.value;
  setFirst({ value, key });
  return value;
}
