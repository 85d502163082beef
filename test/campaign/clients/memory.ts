import { join } from 'node:path';
import { formatPosition, type Position, type ResetReason, type Row } from '../../../client/protocol/index.js';
import { type RecordedReader, Recorder } from '../../../server/verify/recorder.js';
import { isWhole } from '../content.js';
import type { ClientPlan, ClientReport } from './plan.js';

/** The ways down, the best one first. */
const LADDER = ['websocket', 'sse', 'poll'];

/** What one client has seen: its history in a file of its own, and what can be counted on the way. */
export class Memory {
  readonly #plan: ClientPlan;
  readonly #history: string;
  readonly #recorder: Recorder;
  readonly #sessions = new Map<string, RecordedReader>();
  readonly #positions = new Map<string, string>();
  #failure: string | null = null;
  #deliveries = 0;
  #connections = 0;
  #resets = 0;
  #broken = 0;
  #way: string | null = null;
  #down = 0;
  #up = 0;
  readonly #faults: string[] = [];
  #lastEvent: number | null = null;
  #silence = 0;
  #counting = true;

  constructor(plan: ClientPlan, folder: string) {
    this.#plan = plan;
    this.#history = join(folder, `${plan.name}.jsonl`);
    this.#recorder = new Recorder(this.#history, {
      content: 'digest',
      onError: (error) => {
        this.#failure = error.message;
      },
    });
  }

  get name(): string {
    return this.#plan.name;
  }

  get channels(): readonly string[] {
    return this.#plan.channels;
  }

  get deliveries(): number {
    return this.#deliveries;
  }

  /** Where it stands in a channel; undefined before anything was heard of it. */
  position(channel: string): string | undefined {
    return this.#positions.get(channel);
  }

  /** A connection was accepted. */
  connected(): void {
    this.#connections += 1;
  }

  /** It is connected by this way. */
  connectedBy(way: string): void {
    const step = this.#way === null ? 0 : LADDER.indexOf(way) - LADDER.indexOf(this.#way);
    if (step > 0) this.#down += 1;
    if (step < 0) this.#up += 1;
    this.#way = way;
  }

  /** It was answered what must not be. */
  fault(what: string): void {
    this.#faults.push(what);
  }

  /** A session begins: the position is that of the reader from now on, if it is one. */
  begin(channel: string, since: string): void {
    if (since === 'start') this.#positions.delete(channel);
    this.#sessions.set(channel, this.#recorder.begin(this.name, channel, since));
  }

  subscribed(channel: string, position: string | null): void {
    if (position !== null) this.#positions.set(channel, position);
    this.#sessions.get(channel)?.subscribed(position);
  }

  event(channel: string, at: Position, row: Row): void {
    const now = performance.now();
    if (this.#lastEvent !== null && this.#counting) this.#silence = Math.max(this.#silence, now - this.#lastEvent);
    this.#lastEvent = now;
    this.#deliveries += 1;
    if (!isWhole(row)) this.#broken += 1;
    const position = formatPosition(at);
    this.#positions.set(channel, position);
    this.#sessions.get(channel)?.event({ position, row });
  }

  /** Rows of a collection have changed, which is no event of a history. */
  changed(rows: number): void {
    this.#deliveries += rows;
  }

  reset(channel: string, reason: ResetReason, position: string): void {
    this.#resets += 1;
    // Nothing that was committed is ever lost here, so nobody can be ahead who was told the truth.
    if (reason === 'ahead')
      this.fault(`${channel}: asked for what follows a position that never was, back to ${position}`);
    this.#positions.set(channel, position);
    this.#sessions.get(channel)?.reset({ reason, position });
  }

  /** It leaves these channels, all if left out, and claims to have everything up to where it stands. */
  end(channels: readonly string[] = this.channels): void {
    for (const channel of channels) {
      this.#sessions.get(channel)?.end(this.#positions.get(channel) ?? null);
      this.#sessions.delete(channel);
    }
  }

  /** Nothing more is written, so silence means nothing any more. */
  stopCounting(): void {
    this.#counting = false;
  }

  close(): ClientReport {
    this.end();
    this.#recorder.close();
    if (this.#failure !== null) throw new Error(`${this.#history} cannot be written: ${this.#failure}`);
    return {
      name: this.name,
      kind: this.#plan.kind,
      channels: this.channels,
      deliveries: this.#deliveries,
      connections: this.#connections,
      resets: this.#resets,
      moves: { down: this.#down, up: this.#up },
      broken: this.#broken,
      faults: this.#faults,
      longestSilence: Math.round(this.#silence),
      history: this.#history,
    };
  }
}
