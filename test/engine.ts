/** `npm run test:engine -- --minutes 10`: the storm, for as long as you like. The seed repeats its choices: `--seed 7`. */
import { parseArgs } from 'node:util';
import { storm } from './support/engine-storm.js';
import { makeRandom } from './support/random.js';

const { values } = parseArgs({ options: { minutes: { type: 'string', default: '10' }, seed: { type: 'string' } } });
const seed = Number(values.seed ?? Date.now() % 1_000_000);
const duration = Number(values.minutes) * 60_000;
console.log(`seed ${seed}, ${values.minutes} minutes`);
const result = await storm({
  random: makeRandom(seed),
  duration,
  killWorker: 2_000,
  killGateway: 20_000,
  crash: duration / 3 + 1_000,
  say: console.log,
});
console.log(result);
const { notEnded, broken, deadlocks, missed } = result;
process.exitCode = notEnded + broken.length + deadlocks + missed.length === 0 ? 0 : 1;
