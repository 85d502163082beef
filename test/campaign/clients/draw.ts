import type { Random } from '../../support/random.js';
import { BUSY_CHANNELS, PLAIN_CHANNELS, PRUNED_CHANNELS, REBORN_CHANNELS } from '../schema.js';
import type { ClientPlan, Kind } from './plan.js';

/** Of 20 clients, so many are of each kind. */
const SHARES: readonly (readonly [Kind, number])[] = [
  ['steady', 8],
  ['raw', 4],
  ['nomad', 3],
  ['loop', 2],
  ['slow', 2],
  ['replayer', 1],
];
const KINDS = SHARES.flatMap(([kind, share]) => Array.from({ length: share }, () => kind));
const MOST_CHANNELS = 4;

/** Who reads what. */
export function drawClients(count: number, random: Random): ClientPlan[] {
  const counts = new Map<Kind, number>();
  return Array.from({ length: count }, (_, index) => {
    const kind = KINDS[(index * 7) % KINDS.length] ?? 'steady';
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
  // What waits for a loop is handed on after a reset that came later, so a loop reads where no resets are due.
  if (kind === 'loop') return plain;
  if (kind === 'replayer') return nth % 3 === 0 ? plain.slice(0, 1) : PRUNED_CHANNELS;
  if (nth % 5 === 0) return [...plain.slice(0, 2), random.pick(PRUNED_CHANNELS), random.pick(REBORN_CHANNELS)];
  return plain;
}
