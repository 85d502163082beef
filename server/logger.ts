import { type Logger, pino } from 'pino';

export type { Logger };

/** JSON lines on standard error: standard output belongs to what a command prints. */
export function makeLogger(level: string): Logger {
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: ['token', '*.token', 'connectionString', '*.connectionString'],
    },
    pino.destination({ fd: 2, sync: true }),
  );
}
