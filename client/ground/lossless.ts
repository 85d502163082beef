import { parse, stringify } from 'lossless-json';
import type { Json, Numbers } from './json.js';

/** What may be, outside of texts, a number that JavaScript rounds: 16 digits, or a large exponent. Else the platform parses. */
const LONG = /\d[\d.]{15}|\d[eE][+-]?\d{3}/;

/** JSON without loss of digits: `numbers` of 16 and more are texts or bigints, all others numbers. */
export function losslessJson(numbers: Exclude<Numbers, 'number'>): Json {
  const exact = (text: string): unknown => {
    const number = Number(text);
    const digits = text.replace(/[eE].*|\D/g, '').replace(/^0+/, '').length;
    const holds = Number.isFinite(number) && (number !== 0 || digits === 0); // the exponent as well
    if (digits < 16 && holds) return number;
    return numbers === 'bigint' && /^-?\d+$/.test(text) ? BigInt(text) : text;
  };
  return {
    parse(text) {
      if (!LONG.test(text)) return JSON.parse(text);
      try {
        // Of a name that comes twice, as `json` allows, the last value counts, as it does for JSON.parse.
        return parse(text, null, { parseNumber: exact, onDuplicateKey: ({ newValue }) => newValue });
      } catch (error) {
        if (error instanceof RangeError) return JSON.parse(text); // too many levels for a parser that is recursive
        throw error;
      }
    },
    // A bigint becomes the number that it was.
    stringify: (value) => stringify(value) ?? '',
  };
}
