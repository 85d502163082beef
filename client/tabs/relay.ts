import type { Frame } from '../protocol/index.js';
import type { Carrier, SessionEvents } from '../session/connection.js';
import type { Outlet } from './cursor.js';
import { Port } from './port.js';
import { SharedChannel, type Wire } from './shared-channel.js';

/**
 * A gateway in miniature: many tabs above, one connection below. To each tab the protocol holds as if it had a
 * connection of its own (I1 to I4). It keeps no event: what a tab lacks is asked for again, from the gateway.
 */
export class Relay {
  readonly #carrier: Carrier;
  readonly #channels = new Map<string, SharedChannel>();
  readonly #wire: Wire;
  #connected = false;
  #ports = 0;

  constructor(carry: (events: SessionEvents) => Carrier) {
    const relay = this;
    this.#wire = {
      get connected() {
        return relay.#connected;
      },
      request: (command, onReply) =>
        this.#carrier.request(command, (reply) => {
          onReply?.(reply);
          if ('channel' in command) this.#at(command.channel, () => {});
        }),
    };
    this.#carrier = carry({
      onFrame: (frame) => this.#onFrame(frame),
      onState: (state) => this.#onConnection(state === 'connected'),
    });
  }

  /** Whether it has a connection to the gateway. */
  get connected(): boolean {
    return this.#connected;
  }

  /** The channels that some tab follows. */
  get channels(): readonly string[] {
    return [...this.#channels.keys()];
  }

  /** A tab has come. */
  open(outlet: Outlet): Port {
    this.#carrier.start();
    this.#ports += 1;
    return new Port({
      id: `tab ${this.#ports}`,
      outlet,
      join: (cursor) => this.#channel(cursor.channel).join(cursor),
      leave: (cursor) => this.#at(cursor.channel, (channel) => channel.leave(cursor)),
      drained: (name) => this.#at(name, (channel) => channel.steer()),
    });
  }

  close(): void {
    this.#channels.clear();
    this.#carrier.close();
  }

  #channel(name: string): SharedChannel {
    const channel = this.#channels.get(name) ?? new SharedChannel(name, this.#wire);
    this.#channels.set(name, channel);
    return channel;
  }

  #at(name: string, act: (channel: SharedChannel) => void): void {
    const channel = this.#channels.get(name);
    if (channel === undefined) return;
    act(channel);
    if (channel.empty) this.#channels.delete(name);
  }

  #onFrame(frame: Frame): void {
    if ('channel' in frame) this.#at(frame.channel, (channel) => channel.onFrame(frame));
  }

  /** `connected` comes again where another transport took over: nothing is subscribed there. */
  #onConnection(connected: boolean): void {
    const lost = this.#connected && !connected;
    this.#connected = connected;
    if (!connected && !lost) return;
    for (const name of [...this.#channels.keys()]) {
      this.#at(name, (channel) => (connected ? channel.onConnected() : channel.onLost()));
    }
  }
}
