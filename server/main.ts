#!/usr/bin/env node
/**
 * The command line interface: declares the commands and their options, reads the settings, and maps errors to exit codes. A
 * command loads its own part only: the gateway with all that it needs takes half a second.
 */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { parsePosition } from '@rowcast/client/protocol';
import { Command, CommanderError, InvalidArgumentError, Option } from 'commander';
import type { AttachOptions } from './cli/database.js';
import { complain, endWithReader, flushed, table } from './cli/output.js';
import { withFiles } from './cli/secret-files.js';
import type { TokenOptions } from './cli/token.js';
import type { VerifyOptions } from './cli/verify.js';
import type { WatchOptions } from './cli/watch.js';
import { packageRoot } from './ground/package-root.js';
import { ROLES } from './ports/principal.js';
import { fixOf, messageOf } from './postgres/connect-errors.js';
import { extensionSets } from './postgres/sql-sets.js';
import { ConfigError, readConfig } from './settings/config.js';
import { defaultOf, settings } from './settings/table.js';
import { BadHistory } from './verify/line.js';

/** Exit codes: 0 success, 1 failure, 2 invalid arguments or settings. */
const FAILED = 1;
const MISUSED = 2;

function settingsHelp(): string {
  const rows = Object.values(settings).map((setting) => [
    `  ${setting.env}`,
    setting.unit,
    defaultOf(setting) || '-',
    setting.about,
  ]);
  return `\nSettings (environment variables):\n${table([['  NAME', 'UNIT', 'DEFAULT', ''], ...rows]).join('\n')}`;
}

function parseSince(since: string): string {
  const known = (since === 'start' || since === 'now' || parsePosition(since)) ?? parsePosition(`e.${since}`);
  if (known) return since;
  throw new InvalidArgumentError('Must be start, now, a seq like 42, or a position like 58326d.42.');
}

function parseUrl(url: string): string {
  if (URL.canParse(url) && /^(https?|wss?):$/.test(new URL(url).protocol)) return url;
  throw new InvalidArgumentError('Must be a URL such as http://127.0.0.1:4400.');
}

/** The option `--with`, which may be repeated. */
function withExtensions(description: string): Option {
  const names = extensionSets();
  return new Option('--with <extension>', `${description} (${names.join(', ')}); may be repeated`).argParser(
    (name: string, before: string[] | undefined) => {
      if (!names.includes(name)) throw new InvalidArgumentError(`Available: ${names.join(', ')}.`);
      return [...(before ?? []), name];
    },
  );
}

function makeProgram(): Command {
  const { version } = JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8')) as { version: string };
  const program = new Command('rowcast')
    .description('Real-time push gateway for PostgreSQL: INSERT a row, and every subscriber sees it.')
    .version(version)
    .exitOverride()
    .configureHelp({ showGlobalOptions: true });
  const config = () => readConfig(withFiles(process.env));

  program
    .command('up')
    .description('start the gateway, with an embedded PostgreSQL unless DATABASE_URL is set')
    .option('--no-demo', 'do not run the demo')
    .option('--workers <n>', 'gateway processes that share the port (default: ROWCAST_WORKERS)')
    .addHelpText('after', settingsHelp())
    .action(async ({ demo, workers = process.env.ROWCAST_WORKERS }: { demo: boolean; workers?: string }) => {
      const settled = readConfig({ ...withFiles(process.env), ROWCAST_WORKERS: workers });
      const { up } = await import('./cli/up.js');
      await up(settled, { demo });
    });
  program
    .command('migrate')
    .description('bring the database up to date: the schema rowcast, and the extensions that are installed')
    .addOption(withExtensions('install an extension as well'))
    .option('--schema <name>', 'the schema for the tables of the extensions named with --with (default: public)')
    .action(async (options: { with?: string[]; schema?: string }) => {
      if (options.schema !== undefined && options.with === undefined) {
        throw new InvalidArgumentError(
          '--schema requires --with: it is the schema for the tables of those extensions.',
        );
      }
      const { runMigrations } = await import('./cli/database.js');
      await runMigrations(options, config());
    });
  program
    .command('uninstall')
    .description('remove Rowcast from the database; without --yes, only list what would be removed')
    .addOption(withExtensions('remove this extension only'))
    .option('--drop-data', 'also drop tables of extensions that contain rows', false)
    .option('--yes', 'remove it', false)
    .action(async ({ yes, ...options }: { yes: boolean; dropData: boolean; with?: string[] }) => {
      const { runUninstall } = await import('./cli/database.js');
      if (!(await runUninstall({ ...options, confirmed: yes }, config()))) process.exitCode = FAILED;
    });
  program
    .command('watch')
    .description('print the events of a channel as they arrive, until Ctrl-C')
    .argument('<channel>', 'for example message:lobby or execution:<uuid>')
    .option('--since <position>', 'start, now, a seq, or a position', parseSince, 'now')
    .option('--json', 'one JSON object per line', false)
    .option('--record <file>', 'also record the events in a new file, for `rowcast verify`')
    .option('--url <url>', 'the gateway (default: ROWCAST_URL)', parseUrl)
    .action(async (channel: string, options: Omit<WatchOptions, 'url'> & { url?: string }) => {
      const settled = config();
      const { watch } = await import('./cli/watch.js');
      await watch(channel, { ...options, url: options.url ?? settled.url }, settled);
    });
  program
    .command('verify')
    .description('compare recorded histories with the table')
    .argument('<history...>', 'files as `rowcast watch --record` writes them')
    .option('--complete', 'require that every channel was read to its head', false)
    .option('--json', 'as JSON', false)
    .action(async (paths: string[], options: VerifyOptions) => {
      const { verify } = await import('./cli/verify.js');
      if (!(await verify(paths, options, config()))) process.exitCode = FAILED;
    });
  program
    .command('attach')
    .description('make a table a stream: every INSERT into it is broadcast')
    .argument('<table>', 'the table, with its schema if that is not in the search_path')
    .requiredOption('--key <column>', 'the column whose value names the channel')
    .option('--name <stream>', 'the name of the stream (default: the name of the table)')
    .option('--seq <column>', 'the column that it adds for the number of the event (default: seq)')
    .option('--tx <column>', 'the column that it adds for the transaction (default: tx)')
    .action(async (table: string, options: AttachOptions) => {
      const { attach } = await import('./cli/database.js');
      await attach(table, options, config());
    });
  program
    .command('types')
    .description('print the TypeScript types of the streams, for createClient<Streams>()')
    .action(async () => {
      const { printTypes } = await import('./cli/stream-types.js');
      await printTypes(config());
    });
  program
    .command('channels')
    .description('list the channels, their heads, and how many subscribers each has on this gateway')
    .option('--json', 'as JSON', false)
    .option('--url <url>', 'the gateway (default: ROWCAST_URL)', parseUrl)
    .action(async (options: { url?: string; json: boolean }) => {
      const settled = config();
      const { listChannels } = await import('./cli/channels.js');
      await listChannels({ json: options.json, url: options.url ?? settled.url }, settled);
    });
  program
    .command('token')
    .description('make a token with the secret of the gateway, for tests')
    .argument('<subject>', 'the claim sub')
    .addOption(new Option('--role <role>', 'the role of the token').choices(ROLES).default('authenticated'))
    .option('--for <time>', 'how long the token is valid, such as 90s, 15m or 2h', '1h')
    .action(async (subject: string, options: TokenOptions) => {
      const { makeToken } = await import('./cli/token.js');
      await makeToken(subject, options, config());
    });
  program
    .command('doctor')
    .description('check the database and the connection to it, and tell you how to fix problems')
    .option('--json', 'as JSON', false)
    .action(async (options: { json: boolean }) => {
      const { doctor } = await import('./cli/doctor.js');
      if (!(await doctor(options, config()))) process.exitCode = FAILED;
    });
  return program;
}

/** Whether the arguments or the settings are wrong. */
function isMisuse(error: unknown): boolean {
  const { code } = Object(error) as { code?: unknown };
  return error instanceof ConfigError || error instanceof BadHistory || code === 'invalid_channel';
}

/** The message of an error and how to fix it, if that is known, in one line. */
function explained(error: unknown): string {
  const fix = error instanceof ConfigError ? undefined : fixOf(error);
  return fix === undefined ? messageOf(error) : `${messageOf(error)}. ${fix}`;
}

// Rows become garbage soon after they are sent. By default V8 lets the heap double before it collects: about 100 MB more (decision 0017).
setFlagsFromString('--heap-growing-percent=50');
endWithReader();
try {
  await makeProgram().parseAsync();
  await flushed();
  process.exit(); // do not wait for connections to a server that no longer responds
} catch (error) {
  if (error instanceof CommanderError) process.exit(error.exitCode === 0 ? 0 : MISUSED); // commander has printed the error
  complain(`rowcast: ${explained(error)}`);
  process.exitCode = isMisuse(error) ? MISUSED : FAILED;
}
