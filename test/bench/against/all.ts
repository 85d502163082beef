import { durableStreams } from './durable-streams.js';
import { nats } from './nats.js';
import { nchan } from './nchan.js';
import type { Peer } from './peer.js';
import { rowcast } from './rowcast.js';
import { socketIo, socketIoPostgres } from './socket-io.js';
import { plainWs } from './ws.js';

export const peers: readonly Peer[] = [rowcast, plainWs, socketIo, socketIoPostgres, nats, nchan, durableStreams];
