import { storable } from '../../ground/storable.js';

/** Maximum length of a message, and of an output and a context as JSON, in characters. */
const MESSAGE = 8_192;
const OUTPUT = 16_384;
const CONTEXT = 4 * OUTPUT;
/** How many characters of longer JSON are kept, as text. */
const BEGINNING = 1_000;

/** Returns the message of an error or other value, cut to `longest` characters. Never throws. */
export function messageOf(value: unknown, longest = MESSAGE): string {
  try {
    const content = value instanceof Error ? value.message || value.name : value;
    const text = typeof content === 'string' ? content : JSON.stringify(jsonOf(content));
    return storable(text.slice(0, longest));
  } catch {
    return 'unprintable'; // an error here must not replace the error of the work
  }
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'string') return storable(value);
  return typeof value === 'bigint' ? String(value) : value;
}

/** Copies a context as JSON. Its limit leaves room for an output, or a message of control characters, next to the rest. */
export function contextOf(value: unknown): unknown {
  return jsonOf(value, CONTEXT);
}

/**
 * Copies a value as JSON that can be stored, because the caller may change the value later. If it is too long only its
 * beginning is kept; a value that cannot be encoded becomes `{unprintable: true}`.
 */
export function jsonOf(value: unknown, longest = OUTPUT): unknown {
  try {
    const text = JSON.stringify(value, plain) ?? 'null';
    if (text.length <= longest) return JSON.parse(text);
    return { cut: true, length: text.length, begins: storable(text.slice(0, BEGINNING)) };
  } catch {
    return { unprintable: true }; // a cycle, or a `toJSON` that throws
  }
}
