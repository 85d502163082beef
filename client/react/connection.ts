'use client';
import type { ConnectionState, Latency, LiveStore, PollingState, PollingStore } from '../store/index.js';
import { useRowcast } from './provider.js';
import { useValue } from './read.js';

/** The connection, whatever its transport is, and what can be done with it. */
export function useWebSocketConnection(): ConnectionState & Pick<LiveStore, 'reconnect' | 'only'> {
  const { connection, reconnect, only } = useRowcast();
  return { ...useValue(connection), reconnect, only };
}

/** How polling on an interval is doing, and its controls. */
export function usePolling(): PollingState & Pick<PollingStore, 'pause' | 'resume' | 'refresh' | 'setIntervals'> {
  const { polling } = useRowcast();
  const { pause, resume, refresh, setIntervals } = polling;
  return { ...useValue(polling), pause, resume, refresh, setIntervals };
}

/** Where the latest events spent their time; null while that is not known. */
export function useLatency(): Latency | null {
  return useValue(useRowcast().latency);
}

/** The time, in milliseconds since 1970, every so many milliseconds. All components share one timer. */
export function useNow(every = 1_000): number {
  return useValue(useRowcast().clock(every));
}
