/** What happens to the process of a gateway. */
import { readFile } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { until } from '../../support/until.js';
import type { Gateway } from '../gateway.js';
import { whileRinger } from '../ringer.js';
import type { Nemesis } from './nemesis.js';

async function kill(gateway: Gateway, signal: 'SIGKILL' | 'SIGTERM'): Promise<string> {
  const from = performance.now();
  const code = await gateway.end(signal);
  if (signal === 'SIGTERM' && code !== 0) throw new Error(`${gateway.name} ended with ${code} after SIGTERM`);
  return `${gateway.name} ended after ${Math.round(performance.now() - from)} ms`;
}

async function revive(gateway: Gateway, holdMs: number): Promise<void> {
  await delay(holdMs);
  await gateway.start();
  await gateway.ready();
}

async function pause(gateway: Gateway, holdMs: number): Promise<string> {
  gateway.signal('SIGSTOP');
  try {
    const stopped = async () => /^State:\s+T/m.test(await readFile(`/proc/${gateway.pid}/status`, 'utf8'));
    await until(stopped, { what: `${gateway.name} to stand still` });
    await delay(holdMs);
  } finally {
    gateway.signal('SIGCONT');
  }
  await gateway.ready();
  return gateway.name;
}

export const gatewayNemeses: readonly Nemesis[] = [
  {
    name: 'gateway-kill',
    about: 'kill -9 of a gateway, started again after a moment',
    breaks: ['gateway'],
    lasts: [0, 2_000],
    weight: 2,
    kills: true,
    async strike({ gateway, holdMs }) {
      const told = await kill(gateway, 'SIGKILL');
      await revive(gateway, holdMs);
      return told;
    },
  },
  {
    name: 'gateway-restart',
    about: 'SIGTERM: the gateway sends its clients away, ends with code 0, and is started again',
    breaks: ['gateway'],
    lasts: [0, 1_000],
    weight: 2,
    kills: true,
    async strike({ gateway, holdMs }) {
      const told = await kill(gateway, 'SIGTERM');
      await revive(gateway, holdMs);
      return told;
    },
  },
  {
    name: 'gateway-pause',
    about: 'SIGSTOP of a gateway for 1 to 8 seconds, then SIGCONT',
    breaks: ['gateway'],
    lasts: [1_000, 8_000],
    weight: 2,
    strike: ({ gateway, holdMs }) => pause(gateway, holdMs),
  },
  {
    name: 'ringer-pause',
    about: 'SIGSTOP of the gateway that holds the gate, while rows flow',
    breaks: ['gateway', 'database', 'stir'],
    lasts: [1_000, 6_000],
    strike: ({ world, gateway, holdMs }) => whileRinger(world, gateway, () => pause(gateway, holdMs)),
  },
  {
    name: 'ringer-kill',
    about: 'kill -9 of the gateway that holds the gate, while rows flow',
    breaks: ['gateway', 'database', 'stir'],
    lasts: [0, 1_000],
    weight: 2,
    kills: true,
    async strike({ world, gateway, holdMs }) {
      const told = await whileRinger(world, gateway, () => kill(gateway, 'SIGKILL'));
      await revive(gateway, holdMs);
      return told;
    },
  },
];
