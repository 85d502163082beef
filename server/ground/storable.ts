/** PostgreSQL stores neither NUL nor half a character. */
const NOT_STORABLE = /[\0\p{Cs}]/u;
const EACH = new RegExp(NOT_STORABLE, 'gu');

/** Whether PostgreSQL takes this text: a statement that is given another one fails. */
export function isStorable(text: string): boolean {
  return !NOT_STORABLE.test(text);
}

/** The text with a sign in place of each character that cannot be stored. */
export function storable(text: string): string {
  return text.replace(EACH, '\uFFFD');
}
