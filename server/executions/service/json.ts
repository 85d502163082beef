import { storable } from '../../ground/storable.js';

/** What a tracker keeps of one message, in characters, and of one output and one context, in characters of the JSON. */
const MESSAGE = 8_192;
const OUTPUT = 16_384;
const CONTEXT = 4 * OUTPUT;
/** How much of a longer JSON is kept, as text. */
const BEGINNING = 1_000;

/** What a text or an error says, as far as it is kept. */
export function messageOf(said: unknown, longest = MESSAGE): string {
  try {
    const words = said instanceof Error ? said.message || said.name : said;
    const text = typeof words === 'string' ? words : JSON.stringify(jsonOf(words));
    return storable(text.slice(0, longest));
  } catch {
    return 'unprintable'; // whoever waits for the work must hear its own error, whatever that is
  }
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'string') return storable(value);
  return typeof value === 'bigint' ? String(value) : value;
}

/** What a context is now. There is room for an output, or for a message of control characters, next to the rest. */
export function contextOf(value: unknown): unknown {
  return jsonOf(value, CONTEXT);
}

/**
 * What a value is now, as JSON that can be stored: whoever has it may go on changing it. Of what is too long the beginning
 * is kept, and of what is no JSON, that it is none.
 */
export function jsonOf(value: unknown, longest = OUTPUT): unknown {
  try {
    const text = JSON.stringify(value, plain) ?? 'null';
    if (text.length <= longest) return JSON.parse(text);
    return { cut: true, length: text.length, begins: storable(text.slice(0, BEGINNING)) };
  } catch {
    return { unprintable: true }; // it refers to itself, or refuses
  }
}
