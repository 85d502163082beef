/** The venture whose executions are shown: that of the address, else the one that was shown last, else that of the demo. */
import { setQuery } from './places.js';

const KEY = 'rowcast venture';
const DEMO = '00000000-0000-4000-8000-000000000001';

export function useVenture(query: URLSearchParams): readonly [string, (venture: string) => void] {
  const venture = query.get('venture') ?? localStorage.getItem(KEY) ?? DEMO;
  return [
    venture,
    (next) => {
      const name = next.trim();
      if (name === '' || name === venture) return;
      localStorage.setItem(KEY, name);
      setQuery({ venture: name });
    },
  ];
}
