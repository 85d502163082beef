/** Characters that PostgreSQL cannot store: NUL and unpaired surrogates. */
const NOT_STORABLE = /[\0\p{Cs}]/u;
const EACH = new RegExp(NOT_STORABLE, 'gu');

/** Whether PostgreSQL can store this text. A statement with any other text fails. */
export function isStorable(text: string): boolean {
  return !NOT_STORABLE.test(text);
}

/** Replaces each character that cannot be stored by U+FFFD. */
export function storable(text: string): string {
  return text.replace(EACH, '\uFFFD');
}
