import type { z } from 'zod';
import { alertSettings } from './alerts.js';
import { browserSettings } from './browsers.js';
import { fixed } from './fixed.js';
import { identitySettings, KEYS } from './identity.js';
import { withoutServiceLinks } from './service-links.js';
import { isLoopback, type Setting } from './setting.js';
import { defaultOf, settings } from './table.js';

type Settings = { readonly [K in keyof typeof settings]: z.output<(typeof settings)[K]['schema']> };

/** What a gateway is started with: the settings, what follows from them, and what is fixed. */
export type Config = Settings & Readonly<ReturnType<typeof derive>> & Readonly<typeof fixed>;

/** One or more settings are wrong. The message has one line for each, and says what to do. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/** Whether clients need a token. Without a key every client of this machine is trusted, and no other is admitted. */
export function needsToken(config: Pick<Config, (typeof KEYS)[number]>): boolean {
  return KEYS.some((key) => config[key] !== undefined);
}

/**
 * Settings that concern tokens only. If one of them is set, tokens are wanted: without a key, which may have been lost
 * from the environment, the gateway must not start and let everybody in.
 */
const TOKEN_SETTINGS: readonly Setting[] = [
  ...Object.entries(identitySettings).flatMap(([name, setting]) => (KEYS.some((key) => key === name) ? [] : [setting])),
  browserSettings.cookie,
];

/** What follows from the settings. */
function derive({ wakeRate, frameRate, pageBytes }: Settings) {
  return {
    /** Bytes per second that one client may send: a hundred frames a second are one of the largest. */
    byteRate: Math.ceil((frameRate * fixed.maxFrameBytes) / 100),
    /** What may wait to be sent on one connection, in bytes. */
    sendBufferBytes: pageBytes,
    /** Commits per second below which the gateway falls asleep. Equal rates would make it wake and sleep in turn. */
    sleepRate: wakeRate / 2,
  };
}

/** Reads the settings from an environment. Throws `ConfigError`. An empty variable counts as not set. */
export function readConfig(env: Readonly<Record<string, string | undefined>>): Config {
  const faults: string[] = [];
  const own = withoutServiceLinks(env);
  const values = Object.entries(settings).map(([name, { env: variable, schema }]) => {
    const result = schema.safeParse(own[variable] || undefined);
    if (!result.success) {
      const messages = new Set(result.error.issues.map(({ message }) => message));
      faults.push(`${variable}: ${[...messages].join('; ')}`);
    }
    return [name, result.data];
  });
  const known = new Set<string>(Object.values(settings).map((setting) => setting.env));
  for (const variable of Object.keys(own)) {
    if (variable.startsWith('ROWCAST_') && !known.has(variable)) faults.push(`${variable}: there is no such setting`);
  }
  const config = Object.fromEntries(values) as Settings;
  const variables = KEYS.map((key) => settings[key].env);
  const keys = variables.filter((variable) => own[variable]);
  if (config.host && keys.length === 0 && !isLoopback(config.host)) {
    const one = variables.join(' or ');
    faults.push(`ROWCAST_HOST: ${config.host} can be reached from other machines; set ${one}, or use 127.0.0.1`);
  }
  for (const setting of keys.length === 0 ? TOKEN_SETTINGS : []) {
    if ([undefined, '', defaultOf(setting)].includes(own[setting.env])) continue;
    faults.push(`${setting.env}: has no effect without a key for tokens; set ${variables.join(' or ')} as well`);
  }
  const alerts = Object.values<Setting>(alertSettings).map(({ env: variable }) => variable);
  const missing = alerts.filter((variable) => !own[variable]);
  if (missing.length === 1) faults.push(`${missing}: is missing; ${alerts.join(' and ')} are set both, or neither`);
  if (keys.length > 1) faults.push(`${keys.join(', ')}: set one of them; tokens are verified in one way`);
  if (config.cookie && config.origins === '*') {
    faults.push('ROWCAST_COOKIE: every page could use it; list the origins of yours in ROWCAST_ORIGINS');
  }
  if (faults.length > 0) throw new ConfigError(faults.join('\n'));
  return { ...fixed, ...config, ...derive(config) };
}
