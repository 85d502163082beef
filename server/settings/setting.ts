import { z } from 'zod';

export interface Setting {
  readonly env: string;
  readonly schema: z.ZodType<unknown, string | undefined>;
  readonly unit: string;
  readonly about: string;
  /** A secret, which may also be read from a file: the variable of the same name with `_FILE` holds the path. */
  readonly file?: boolean;
}

export const KiB = 1024;
export const MiB = 1024 * KiB;

/** A whole number. Whatever is wrong with the text, the message is the same. */
export const whole = (min: number, max: number) => {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.coerce.number<string>({ error }).int({ error }).min(min, { error }).max(max, { error });
};
export const port = whole(0, 65_535);
export const bytes = whole(1 * KiB, 1024 * MiB);
export const milliseconds = whole(1, 3_600_000);
export const count = whole(1, 1_000_000);

const LOOPBACK = /^(localhost|127(\.\d{1,3}){3}|::1|\[::1\])$/;

/** Whether a host name, as written in a URL, is a loopback address. */
export function isLoopback(hostname: string): boolean {
  return LOOPBACK.test(hostname);
}
