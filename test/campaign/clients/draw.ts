import type { Random } from '../../support/random.js';
import { BOARD_CHANNELS, BUSY_CHANNELS, PLAIN_CHANNELS, PRUNED_CHANNELS, REBORN_CHANNELS } from '../schema.js';
import { type ClientPlan, KINDS, type Kind } from './plan.js';

/** The first clients are one of each kind; of each 32 that follow, so many. */
const SHARES: Readonly<Record<Kind, number>> = {
  steady: 5,
  raw: 3,
  nomad: 3,
  loop: 2,
  slow: 2,
  replayer: 1,
  sse: 2,
  'long-poll': 2,
  interval: 2,
  ladder: 3,
  'raw-sse': 2,
  'raw-poll': 1,
  durable: 2,
  follower: 2,
};
const REST = KINDS.flatMap((kind) => Array.from({ length: SHARES[kind] }, () => kind));
/** Has no divisor in common with the length of `REST`: the kinds are mixed. */
const STEP = 7;
const MOST_CHANNELS = 4;

/** Who reads what. */
export function drawClients(count: number, random: Random): ClientPlan[] {
  const counts = new Map<Kind, number>();
  return Array.from({ length: count }, (_, index) => {
    const kind = KINDS[index] ?? REST[((index - KINDS.length) * STEP) % REST.length] ?? 'steady';
    const nth = counts.get(kind) ?? 0;
    counts.set(kind, nth + 1);
    return {
      name: `${kind}-${`${nth}`.padStart(3, '0')}`,
      kind,
      channels: channelsFor(kind, nth, random),
      seed: random.int(0, 2 ** 31),
    };
  });
}

function channelsFor(kind: Kind, nth: number, random: Random): string[] {
  // One of them at least is never quiet for long.
  const busy = random.pick(BUSY_CHANNELS);
  const others = random.shuffled(PLAIN_CHANNELS).filter((channel) => channel !== busy);
  const plain = [busy, ...others.slice(0, random.int(0, MOST_CHANNELS - 1))];
  if (kind === 'follower') return random.shuffled(BOARD_CHANNELS).slice(0, 2);
  // What waits for a loop is handed on after a reset that came later, so a loop reads where no resets are due.
  if (kind === 'loop') return plain;
  if (kind === 'replayer') return nth % 3 === 0 ? plain.slice(0, 1) : PRUNED_CHANNELS;
  if (nth % 5 === 0) return [...plain.slice(0, 2), random.pick(PRUNED_CHANNELS), random.pick(REBORN_CHANNELS)];
  return plain;
}
