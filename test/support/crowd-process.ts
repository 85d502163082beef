/** A process with a crowd of clients, run by `startCrowd`: what each of them sees is checked here, as it comes. */
import { type Client, createClient } from '../../client/node.js';
import type { CrowdOptions, CrowdReport } from './crowd.js';

const { url, clients, channels } = JSON.parse(process.argv[2] ?? '{}') as CrowdOptions;

/** The last seq that each client has seen. */
const seen = new Array<number>(clients).fill(0);
const faults: string[] = [];
const turnedAway: Record<string, number> = {};
let connected: number[] = [];
const crowd: Client[] = [];

/** Clients that connect at once: thousands would wait for this one process, and take that for a way that does not work. */
const TOGETHER = 100;
/** How often more of them begin, in milliseconds. */
const BETWEEN = 100;

function join(index: number): void {
  const channel = channels[index % channels.length] ?? '';
  const client = createClient({
    url,
    onState(state, error) {
      if (state === 'connected') connected.push(Date.now());
      if (state === 'waiting') turnedAway[error?.code ?? ''] = (turnedAway[error?.code ?? ''] ?? 0) + 1;
      if (state === 'closed') faults.push(`client ${index} gave up: ${error?.code}`);
    },
  });
  client.subscribe(channel, {
    since: 'start',
    onEvent({ seq, row }) {
      const expected = (seen[index] ?? 0) + 1;
      if (seq !== expected) faults.push(`client ${index} saw ${seq} of ${channel} instead of ${expected}`);
      if (row.data !== seq) faults.push(`client ${index} saw ${JSON.stringify(row)} as ${seq} of ${channel}`);
      seen[index] = seq;
    },
    onReset: ({ reason }) => faults.push(`client ${index} was reset: ${reason}`),
  });
  crowd.push(client);
}

const arriving = setInterval(() => {
  const most = crowd.filter(({ state }) => state === 'connected').length + TOGETHER;
  while (crowd.length < Math.min(most, clients)) join(crowd.length);
  if (crowd.length === clients) clearInterval(arriving);
}, BETWEEN);

process.on('message', (message) => {
  const report: CrowdReport = {
    connected: crowd.filter(({ state }) => state === 'connected').length,
    transports: Object.fromEntries(
      ['websocket', 'sse', 'poll'].map((name) => [name, crowd.filter(({ transport }) => transport === name).length]),
    ),
    lowest: channels
      .map((_, at) => seen.filter((_, index) => index % channels.length === at))
      .map((s) => Math.min(...s)),
    faults: faults.slice(0, 20),
    turnedAway,
    connections: connected,
  };
  if (message === 'forget') {
    connected = [];
    for (const code of Object.keys(turnedAway)) delete turnedAway[code];
  }
  process.send?.(report);
});
process.on('disconnect', () => process.exit());
