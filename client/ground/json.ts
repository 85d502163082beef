/** How the client reads and writes JSON. The global `JSON` is one. */
export interface Json {
  parse(text: string): unknown;
  stringify(value: unknown): string;
}

/** What numbers of 16 and more digits become. */
export const NUMBERS = ['number', 'string', 'bigint'] as const;
export type Numbers = (typeof NUMBERS)[number];
