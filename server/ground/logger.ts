import { type Logger, pino, stdSerializers } from 'pino';

export type { Logger };

/** What is written in place of a secret. */
const HIDDEN = '[hidden]';

/** Fields that would hold one. */
const SECRET = ['token', 'ticket', 'authorization', 'cookie', 'password', 'connectionString', 'databaseUrl'];

/**
 * What looks like one wherever it stands, in a message, a stack or the text of a foreign error: a JWT, a `Bearer`, a ticket in
 * an address, the password of a URL. No line is meant to hold any of them; this is for the one that does all the same.
 */
const LOOKS_SECRET =
  /\beyJ[\w-]{4,}\.[\w-]+\.[\w-]*|(?<=\bBearer +)[^\s"\\]+|(?<=[?&](?:ticket|token)=)[^\s"&\\]+|(?<=\b\w+:\/\/[^\s:/@"]*:)[^\s/@"]+(?=@)/gi;

/** An error as a line tells it. A pool of `pg` hangs the whole connection on to it. */
function withoutClient(error: Error): unknown {
  const said: unknown = stdSerializers.err(error); // anything may have been thrown
  return typeof said === 'object' && said !== null ? { ...said, client: undefined } : said;
}

/** JSON lines on standard error: standard output belongs to what a command prints. `write` takes each line. */
export function makeLogger(level: string, write?: (line: string) => void): Logger {
  const destination = write === undefined ? pino.destination({ fd: 2, sync: true }) : { write };
  return pino(
    {
      level,
      base: null,
      timestamp: pino.stdTimeFunctions.isoTime,
      serializers: { err: withoutClient },
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths: SECRET.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), censor: HIDDEN },
      hooks: { streamWrite: (line) => line.replace(LOOKS_SECRET, HIDDEN) },
    },
    destination,
  );
}
