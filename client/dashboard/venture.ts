/** The venture whose executions are shown: that of the address, else the one that was shown last, else that of the demo. */
import { useEffect } from 'react';
import { setQuery } from './places.js';

const KEY = 'rowcast venture';
const DEMO = '00000000-0000-4000-8000-000000000001';

export function useVenture(query: URLSearchParams): readonly [string, (venture: string) => void] {
  const named = query.get('venture');
  const venture = named ?? localStorage.getItem(KEY) ?? DEMO;
  useEffect(() => {
    if (named !== null) localStorage.setItem(KEY, named);
  }, [named]);
  return [
    venture,
    (next) => {
      const name = next.trim();
      if (name !== '' && name !== venture) setQuery({ venture: name });
    },
  ];
}
