import { expect } from '@jest/globals';
import type pg from 'pg';
import type { Client } from '../../client/node.js';
import { type Follower, follow, seqs } from './follow.js';
import { until } from './until.js';

/** A stream that nothing is wrong with: whatever other tables do, every event of it comes, in the usual time. */
export class Witness {
  readonly #writer: pg.Client;
  readonly #follower: Follower;
  readonly channel: string;
  /** In milliseconds, one for each event. */
  readonly latencies: number[] = [];
  #written = 0;

  constructor(client: Client, writer: pg.Client, name = 'witness') {
    this.channel = `message:${name}`;
    this.#writer = writer;
    this.#follower = follow(client, this.channel);
  }

  /** Writes one event, and waits for it. */
  async tick(deadlineMs = 5_000): Promise<void> {
    this.#written += 1;
    await this.#writer.query(`SELECT rowcast.publish($1, 'tick')`, [this.channel]);
    const from = performance.now();
    await until(() => this.#follower.events.length >= this.#written, {
      deadlineMs,
      what: `event ${this.#written} of the witness`,
    });
    this.latencies.push(performance.now() - from);
  }

  /** I1 I2 I3 of the witness. */
  check(): void {
    expect(this.#follower.events.map(({ seq }) => seq)).toEqual(seqs(1, this.#written));
    expect(this.#follower.resets).toEqual([]);
    expect(this.#follower.subscription.state).toBe('live');
  }
}
