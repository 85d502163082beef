import type { Connection, ConnectionEvents } from '../session/connection.js';
import { SharedChannels } from '../subscription/shared-channels.js';
import type { FrameOutput } from './cursor.js';
import { Follower } from './follower.js';

/**
 * A gateway in miniature: many tabs above, one connection below. For each tab the protocol holds as if it had a
 * connection of its own (I1 to I4).
 */
export class TabGateway {
  readonly #connection: Connection;
  readonly #channels = new SharedChannels(() => this.#connection);
  #followers = 0;

  constructor(open: (events: ConnectionEvents) => Connection) {
    this.#connection = open({
      onFrame: (frame) => this.#channels.onFrame(frame),
      onState: () => this.#channels.onState(),
    });
  }

  /** Whether it has a connection to the gateway. */
  get connected(): boolean {
    return this.#connection.state === 'connected';
  }

  /** A tab connects. */
  open(output: FrameOutput): Follower {
    this.#connection.start();
    this.#followers += 1;
    return new Follower(`tab ${this.#followers}`, output, this.#channels);
  }

  close(): void {
    this.#channels.clear(); // the tabs notice by themselves that this one is gone
    this.#connection.close();
  }
}
