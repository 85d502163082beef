import { type Logger, pino, stdSerializers } from 'pino';

export type { Logger };

/** Written in place of a secret. */
const HIDDEN = '[hidden]';

/** Fields that may hold a secret. */
const SECRET = ['token', 'ticket', 'authorization', 'cookie', 'password', 'connectionString', 'databaseUrl'];

/**
 * Matches secrets anywhere in a line, such as in a message, a stack or an error of a library: the secret of a webhook, a JWT,
 * a bearer token, a ticket in a URL, the password of a URL. No line should contain any; this is the second line of defence.
 */
const LOOKS_SECRET =
  /\bwhsec_[\w+/=]+|\beyJ[\w-]{4,}\.[\w-]+\.[\w-]*|(?<=\bBearer +)[^\s"\\]+|(?<=[?&](?:ticket|token)=)[^\s"&\\]+|(?<=\b\w+:\/\/[^\s:/@"]*:)[^\s/@"]+(?=@)/gi;

/** Serializes an error without its `client`: a pool of `pg` attaches the whole connection. */
function withoutClient(error: Error): unknown {
  const serialized: unknown = stdSerializers.err(error); // not an object if the thrown value was no error
  return typeof serialized === 'object' && serialized !== null ? { ...serialized, client: undefined } : serialized;
}

/** Makes a logger that writes JSON lines to standard error, because standard output is for the output of commands. `write` receives the lines instead. */
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
