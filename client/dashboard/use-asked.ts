import { useEffect, useState } from 'react';
import { RowcastError } from '../ground/error.js';

export interface Asked<T> {
  readonly data: T | undefined;
  readonly error: RowcastError | null;
  /** When `data` arrived, in milliseconds since 1970. */
  readonly at: number | null;
}

const NOTHING = { data: undefined, error: null, at: null };

/** What a request answers, for a key; asked again every so many milliseconds while the page is visible. */
export function useAsked<T>(
  key: string,
  ask: (signal: AbortSignal) => Promise<T>,
  every: number | null = null,
): Asked<T> {
  const [asked, setAsked] = useState<Asked<T> & { readonly key: string }>({ ...NOTHING, key });
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key says what is asked
  useEffect(() => {
    const stopping = new AbortController();
    const run = async () => {
      if (document.visibilityState === 'hidden') return;
      try {
        const data = await ask(stopping.signal);
        if (!stopping.signal.aborted) setAsked({ key, data, error: null, at: Date.now() });
      } catch (error) {
        if (stopping.signal.aborted) return;
        const reason = error instanceof RowcastError ? error : new RowcastError('internal', String(error));
        setAsked((before) => ({ ...(before.key === key ? before : NOTHING), key, error: reason }));
      }
    };
    void run();
    const timer = every === null ? undefined : setInterval(() => void run(), every);
    return () => {
      stopping.abort();
      clearInterval(timer);
    };
  }, [key, every]);
  return asked.key === key ? asked : NOTHING;
}
