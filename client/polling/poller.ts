/**
 * Polls the gateway on an interval, for all channels in one request, one request at a time. To the subscriptions it is a
 * connection that stands from the first response until a request fails.
 *
 *              start           due                 response
 *    idle ───────────► resting ─────► requesting ────────────► resting
 *                         ▲               │
 *                         └───────────────┘  failure, retry hint, pause, network hint, no network
 *
 *   idle        not started
 *   resting     the next request is due after a delay, or none is planned: all is read, or paused, or there is no network
 *   requesting  a request is out, or its response is being read; `again`: another one is to follow at once
 *   closed      follows from each phase: no timer and no request remains (I7)
 *
 * Beside the phase there are the `session`, null from a failure until the next request, and whether the application has
 * paused polling.
 */
import type { Backoff } from '../ground/backoff.js';
import type { Clock } from '../ground/clock.js';
import { causeOf, RowcastError } from '../ground/error.js';
import { notify } from '../ground/notify.js';
import { PROTOCOL, type Reply } from '../protocol/index.js';
import type { Connection, ConnectionEvents, Request, SessionState } from '../session/connection.js';
import { type Environment, SLOW_ATTEMPT } from '../session/environment.js';
import { Replies } from '../session/replies.js';
import { StandingCommands } from '../transport/standing-commands.js';
import { Breaker } from './breaker.js';
import { Pacing } from './pacing.js';
import type { Poll, PollResponse } from './poll.js';
import { Schedule } from './schedule.js';
import type { PollingSettings, PollingStats } from './settings.js';
import { Statistics } from './statistics.js';

export interface PollerOptions {
  readonly settings: PollingSettings;
  readonly poll: Poll;
  readonly token: () => Promise<string | undefined>;
  readonly clock: Clock;
  readonly backoff: Backoff;
  readonly environment: Environment;
  /** False while the platform knows that there is no network. */
  readonly online: () => boolean;
  readonly events: ConnectionEvents;
}

type Phase =
  | { readonly name: 'idle' }
  | { readonly name: 'resting' }
  | { readonly name: 'requesting'; readonly abort: AbortController; again: boolean }
  | { readonly name: 'closed' };

export type PollerPhase = Phase['name'];

/** From a response to the next failure. `expired`: the next request has a fresh token; if it is refused as well, that counts as a failure. */
type PollSession = { readonly commands: StandingCommands; expired: boolean };

export class Poller implements Connection {
  readonly #settings: PollingSettings;
  readonly #poll: Poll;
  readonly #token: () => Promise<string | undefined>;
  readonly #clock: Clock;
  readonly #backoff: Backoff;
  readonly #environment: Environment;
  readonly #online: () => boolean;
  readonly #events: ConnectionEvents;
  readonly #breaker: Breaker;
  readonly #statistics: Statistics;
  readonly #pacing: Pacing;
  readonly #schedule: Schedule;
  readonly #replies = new Replies();
  #phase: Phase = { name: 'idle' };
  #session: PollSession | null = null;
  #state: SessionState = 'waiting';
  #paused = false;
  #interval: number | null = null;
  #heardAt: number | null = null;
  #roundTrip: number | null = null;
  #cancelTimeout: () => void = () => {};
  #unwatch: () => void = () => {};

  constructor({ settings, poll, token, clock, backoff, environment, online, events }: PollerOptions) {
    this.#settings = settings;
    this.#poll = poll;
    this.#token = token;
    this.#clock = clock;
    this.#backoff = backoff;
    this.#environment = environment;
    this.#online = online;
    this.#events = events;
    this.#breaker = new Breaker(settings.breakerFailures);
    this.#statistics = new Statistics(clock, settings.thresholds);
    this.#pacing = new Pacing(settings, settings.stateOf);
    this.#schedule = new Schedule(clock, () => this.#begin());
  }

  get phase(): PollerPhase {
    return this.#phase.name;
  }

  get state(): SessionState {
    return this.#state;
  }

  get transport(): 'poll' | null {
    return this.#state === 'connected' ? 'poll' : null;
  }

  get heardAt(): number | null {
    return this.#heardAt;
  }

  get roundTrip(): number | null {
    return this.#roundTrip;
  }

  get retryAt(): number | null {
    return this.#state === 'waiting' ? this.#schedule.dueAt : null;
  }

  get stats(): PollingStats {
    const { stats, thresholds } = this.#statistics;
    return { ...stats, interval: this.#interval, breaker: this.#breaker.state, paused: this.#paused, thresholds };
  }

  start(): void {
    if (this.#phase.name !== 'idle') return;
    this.#phase = { name: 'resting' };
    this.#unwatch = this.#environment.watch(
      () => this.#onNetworkHint(),
      () => this.#rest(),
    );
    if (!this.#paused) this.#requestSoon();
  }

  request(command: Request, onReply?: (reply: Reply) => void): void {
    const id = this.#replies.add(onReply);
    if (command.type === 'subscribe') this.#pacing.subscribed(command.channel);
    const replies = this.#session?.commands.add({ ...command, id }) ?? [];
    for (const reply of replies) this.#replies.settle(reply.id, reply);
    if (replies.length > 0) return;
    // While paused there is a request only after `refresh`, and a command that comes meanwhile belongs to it.
    if (!this.#paused || this.#phase.name === 'requesting') this.#requestSoon();
  }

  reconnect(): void {
    this.start();
    this.#onNetworkHint();
  }

  /** Makes no request until `resume`. One that is out is given up, and its commands are sent again later. */
  pause(): void {
    if (this.#paused || this.#phase.name === 'closed') return;
    this.#paused = true;
    this.#interval = null;
    this.#rest();
    if (this.#state === 'connecting') this.#enter('waiting');
    this.#report();
  }

  resume(): void {
    if (!this.#paused || this.#phase.name === 'closed') return;
    this.#paused = false;
    this.refresh();
    this.#report();
  }

  /** Makes a request now, for finished executions as well; while paused, once. */
  refresh(): void {
    this.#pacing.recheck();
    this.#requestSoon();
  }

  close(): void {
    if (this.#phase.name !== 'closed') this.#end();
  }

  #end(error?: RowcastError): void {
    this.#leave();
    this.#phase = { name: 'closed' };
    this.#interval = null;
    this.#unwatch();
    this.#enter('closed', error);
  }

  #enter(state: SessionState, error?: RowcastError): void {
    this.#state = state;
    this.#events.onState(state, error);
  }

  #report(): void {
    if (this.#phase.name === 'closed') return;
    const { onStats, onWarning } = this.#settings;
    notify(onStats, this.stats);
    for (const warning of this.#statistics.warnings()) notify(onWarning, warning);
  }

  /** Gives up the request that is out, or the plan of the next one. */
  #rest(): void {
    this.#schedule.cancel();
    this.#cancelTimeout();
    if (this.#phase.name !== 'requesting') return;
    this.#phase.abort.abort();
    this.#phase = { name: 'resting' };
  }

  /** Ends the session. The subscriptions send their commands again in the next one. */
  #leave(): void {
    this.#rest();
    this.#session = null;
    this.#replies.clear();
  }

  #onNetworkHint(): void {
    const { name } = this.#phase;
    if (name !== 'resting' && name !== 'requesting') return;
    if (!this.#online()) return this.#offline();
    const young = name === 'requesting' && this.#clock.now() - this.#schedule.begunAt < SLOW_ATTEMPT;
    if (this.#paused || young) return;
    this.#rest();
    this.#schedule.early();
  }

  /** Without a network no request is made, and that is no failure. A network hint follows. */
  #offline(): void {
    this.#leave();
    this.#interval = null;
    if (this.#state !== 'waiting') this.#enter('waiting', new RowcastError('unavailable', 'there is no network'));
  }

  #requestSoon(): void {
    if (this.#phase.name === 'requesting') this.#phase.again = true;
    else if (this.#phase.name === 'resting' && this.#state === 'connected') this.#schedule.after(0);
    else if (this.#phase.name === 'resting') this.#schedule.early();
  }

  /** Plans the next request in turn; null: none. */
  #plan(interval: number | null): void {
    this.#interval = this.#paused ? null : interval;
    if (this.#interval !== null) this.#schedule.after(this.#interval);
  }

  readonly #includes = (channel: string) => this.#pacing.includes(channel);

  #begin(): void {
    if (!this.#online()) return this.#offline();
    const channels = this.#session?.commands.channels ?? [];
    if (this.#state === 'connected' && !channels.some(this.#includes)) return this.#plan(null);
    const trial = this.#breaker.begin();
    const phase = { name: 'requesting' as const, abort: new AbortController(), again: false };
    const current = () => this.#phase === phase;
    this.#phase = phase;
    this.#schedule.begunAt = this.#clock.now();
    this.#cancelTimeout = this.#clock.after(this.#settings.timeout, () => this.#fail('request timeout'));
    if (trial) this.#report();
    if (current() && this.#state === 'waiting') this.#enter('connecting');
    if (!current()) return; // a listener paused or closed the client
    this.#exchange(phase.abort.signal).then(
      (response) => current() && this.#receive(response, current),
      (reason: unknown) => current() && this.#fail(causeOf(reason)),
    );
  }

  async #exchange(signal: AbortSignal): Promise<PollResponse> {
    if (this.#session === null || this.#session.expired) {
      const token = await this.#token();
      signal.throwIfAborted();
      if (this.#session === null) this.#session = { commands: this.#connect(token), expired: false };
      else if (token !== undefined) this.#session.commands.add({ type: 'refresh', id: this.#replies.add(), token });
      this.#schedule.begunAt = this.#clock.now();
    }
    return this.#poll(this.#session.commands.list(this.#includes), signal);
  }

  #connect(token: string | undefined): StandingCommands {
    const commands = new StandingCommands();
    const id = this.#replies.add(({ type }) => {
      if (type === 'connected') this.#enter('connected');
    });
    commands.add({ type: 'connect', id, protocol: PROTOCOL, ...(token === undefined ? {} : { token }) });
    return commands;
  }

  #receive({ frames, positions }: PollResponse, current: () => boolean): void {
    this.#heardAt = this.#clock.now();
    this.#roundTrip = this.#heardAt - this.#schedule.begunAt;
    for (const frame of frames) {
      const passed = this.#session?.commands.translate(frame) ?? null;
      if (passed === null) continue;
      if (passed.type === 'error' && passed.id === undefined) {
        return this.#refused(new RowcastError(passed.code, passed.message), passed.retryAfter);
      }
      this.#pacing.observe(passed);
      if ('id' in passed && passed.id !== undefined) this.#replies.settle(passed.id, passed as Reply);
      else this.#events.onFrame(passed);
      if (!current()) return; // a listener paused or closed the client: the rest is requested again
    }
    // The gateway answers but has no database: for a reader of events that is a failure.
    if (frames.some((frame) => 'code' in frame && frame.code === 'unavailable')) return this.#fail();
    this.#answered(frames, positions);
  }

  #answered(frames: PollResponse['frames'], positions: PollResponse['positions']): void {
    const channels = this.#session?.commands.channels ?? [];
    if (this.#session !== null) this.#session.expired = false;
    this.#pacing.settle(frames, positions, channels);
    this.#statistics.answered(this.#roundTrip ?? 0);
    // A reply to `connect` alone does not show that the gateway can serve channels. The next request, at once, does.
    if (channels.length === 0 || frames.some(({ type }) => type === 'subscribed')) {
      this.#breaker.succeed();
      this.#backoff.reset();
      this.#statistics.recovered();
    }
    const moved = frames.some(({ type }) => type === 'events' || type === 'reset');
    const again = (this.#phase.name === 'requesting' && this.#phase.again) || (moved && this.#pacing.behind);
    this.#rest();
    if (again) this.#schedule.after(0);
    else this.#plan(this.#pacing.interval(channels));
    this.#report();
  }

  /** The gateway refused the request. If it gives a retry hint it is well, and nothing has failed. */
  #refused(error: RowcastError, retryAfter: number | undefined): void {
    if (!error.retries) return this.#end(error);
    const session = this.#session;
    if (error.code === 'token_expired' && this.#state === 'connected' && session?.expired === false) {
      session.expired = true;
      this.#rest();
      return this.#schedule.after(0);
    }
    if (retryAfter === undefined) return this.#fail(error.message, error.code);
    const delay = this.#backoff.after(retryAfter);
    this.#schedule.hold(delay);
    this.#wait(delay, error);
  }

  #fail(message?: string, code = 'unavailable'): void {
    this.#statistics.failed();
    this.#breaker.fail();
    const open = this.#breaker.state === 'open';
    const delay = open ? this.#backoff.after(this.#settings.breakerCooldown) : this.#backoff.next();
    this.#wait(delay, new RowcastError(code, message));
  }

  #wait(delay: number, error: RowcastError): void {
    this.#leave();
    this.#plan(delay);
    this.#enter('waiting', error);
    this.#report();
  }
}
