import { doorNemeses } from './doors.js';
import { gatewayNemeses } from './gateways.js';
import type { Nemesis } from './nemesis.js';
import { networkNemeses } from './network.js';
import { numberingNemeses } from './numbering.js';
import { postgresNemeses } from './postgres.js';
import { pressureNemeses } from './pressure.js';
import { silenceNemeses } from './silence.js';
import { streamNemeses } from './streams.js';

export const nemeses: readonly Nemesis[] = [
  ...gatewayNemeses,
  ...silenceNemeses,
  ...postgresNemeses,
  ...networkNemeses,
  ...doorNemeses,
  ...numberingNemeses,
  ...pressureNemeses,
  ...streamNemeses,
];
