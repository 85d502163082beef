/** What a tracker keeps of one message, in characters, and of one output and one context, in characters of the JSON. */
const MESSAGE = 8_192;
const OUTPUT = 16_384;
const CONTEXT = 2 * OUTPUT;
/** How much of a longer JSON is kept, as text. */
const BEGINNING = 1_000;

/** PostgreSQL stores neither NUL nor half a character. */
const NOT_STORABLE = /\p{Cs}|\0/gu;

/** A text that can be stored. */
export function textOf(value: string): string {
  return value.slice(0, MESSAGE).replace(NOT_STORABLE, '\uFFFD');
}

/** What an error says. */
export function messageOf(error: unknown): string {
  try {
    if (error instanceof Error) return textOf(String(error.message || error.name));
    return textOf(typeof error === 'string' ? error : (JSON.stringify(jsonOf(error)) ?? 'unknown'));
  } catch {
    return 'unprintable'; // whoever waits for the work must hear its own error, whatever that is
  }
}

function plain(_key: string, value: unknown): unknown {
  if (typeof value === 'string') return value.replace(NOT_STORABLE, '\uFFFD');
  return typeof value === 'bigint' ? String(value) : value;
}

/** What a context is now. One that holds an output has room for it. */
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
    return { cut: true, length: text.length, begins: textOf(text.slice(0, BEGINNING)) };
  } catch {
    return { unprintable: true }; // it refers to itself, or refuses
  }
}
