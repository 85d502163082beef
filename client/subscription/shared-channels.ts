import { Backoff } from '../ground/backoff.js';
import { type Clock, systemClock } from '../ground/clock.js';
import type { Frame } from '../protocol/index.js';
import type { Connection } from '../session/connection.js';
import { BACKOFF } from '../session/open.js';
import { type ChannelReader, SharedChannel } from './shared-channel.js';

/** When a channel that was refused for now is asked for again. */
export interface Timing {
  readonly clock: Clock;
  backoff(): Backoff;
}

const TIMING: Timing = { clock: systemClock, backoff: () => new Backoff(BACKOFF) };

/** The channels of one connection that have readers. */
export class SharedChannels {
  readonly #connection: () => Connection;
  readonly #timing: Timing;
  readonly #channels = new Map<string, SharedChannel>();

  constructor(connection: () => Connection, timing: Timing = TIMING) {
    this.#connection = connection;
    this.#timing = timing;
  }

  join(name: string, reader: ChannelReader): void {
    this.#channel(name).join(reader);
  }

  leave(name: string, reader: ChannelReader): void {
    this.#channels.get(name)?.leave(reader);
  }

  resume(name: string): void {
    this.#channels.get(name)?.resume();
  }

  onFrame(frame: Frame): void {
    const channel = 'channel' in frame ? this.#channels.get(frame.channel) : undefined;
    channel?.onFrame(frame);
  }

  /**
   * Called with each change of the state, and again when another transport has taken over. `notifyOthers` calls
   * listeners that may subscribe or close: what was subscribed is forgotten before, or a channel would be subscribed twice.
   */
  onState(notifyOthers: () => void = () => {}): void {
    for (const channel of this.#channels.values()) channel.forget();
    notifyOthers();
    const connected = this.#connection().state === 'connected';
    for (const channel of [...this.#channels.values()]) {
      if (connected) channel.resume();
      else channel.onLost();
    }
  }

  /** Forgets all readers without telling them. */
  clear(): void {
    this.#channels.clear();
  }

  #channel(name: string): SharedChannel {
    const known = this.#channels.get(name);
    if (known !== undefined) return known;
    const channel: SharedChannel = new SharedChannel({
      name,
      connection: this.#connection(),
      clock: this.#timing.clock,
      backoff: this.#timing.backoff(),
      onEmpty: () => {
        // By now another one may have taken its place.
        if (this.#channels.get(name) === channel) this.#channels.delete(name);
      },
    });
    this.#channels.set(name, channel);
    return channel;
  }
}
