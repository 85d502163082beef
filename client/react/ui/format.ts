'use client';
/** Times and amounts as the components write them: short, with tabular figures, the same width where that can be. */

/** `9 ms`, `6.2 s`, `42 s`, `3 m 20 s`, `1 h 05 m`, `2 d 3 h`. */
export function duration(milliseconds: number): string {
  const ms = Math.max(0, milliseconds);
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return `${minutes} m ${two(seconds % 60)} s`;
  const hours = Math.floor(minutes / 60);
  return hours < 24 ? `${hours} h ${two(minutes % 60)} m` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

/** A duration without the part that changes each second: for what is not watched by the second. */
export function roughly(milliseconds: number): string {
  const seconds = Math.round(Math.max(0, milliseconds) / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.round(seconds / 60);
  if (minutes < 60) return `${minutes} m`;
  const hours = Math.round(minutes / 60);
  return hours < 48 ? `${hours} h` : `${Math.round(hours / 24)} d`;
}

/** `42 s ago`, `in 3 m`. What is less than a second ahead has just happened: the clocks of pages tick once a second. */
export function ago(milliseconds: number): string {
  return milliseconds <= -1_000 ? `in ${roughly(-milliseconds)}` : `${roughly(milliseconds)} ago`;
}

/** The time of day: `12:03:09`, or `12:03:09.114`; in UTC with a `Z`. */
export function timeOfDay(at: number, { utc = false, precise = false } = {}): string {
  const date = new Date(utc ? at : at - new Date(at).getTimezoneOffset() * 60_000);
  const text = Number.isNaN(date.getTime()) ? '–' : date.toISOString().slice(11, precise ? 23 : 19);
  return utc ? `${text}Z` : text;
}

export function whole(value: number): string {
  return Math.round(value).toLocaleString('en');
}

/** A measured value with at most three decimals, and short from a million on. */
export function measured(value: number): string {
  const size = Math.abs(value);
  if (size >= 1e9) return `${(value / 1e9).toFixed(2)} G`;
  if (size >= 1e6) return `${(value / 1e6).toFixed(2)} M`;
  return value.toLocaleString('en', { maximumFractionDigits: size < 10 ? 3 : 1 });
}

/** A text of another party, cut to so many characters. */
export function cut(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most)}…`;
}

/** Class names in one text, without those that are not there. */
export function classes(...names: readonly (string | undefined | false)[]): string {
  return names.filter(Boolean).join(' ');
}

function two(value: number): string {
  return String(value).padStart(2, '0');
}
