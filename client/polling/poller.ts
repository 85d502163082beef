import type { Backoff } from '../ground/backoff.js';
import type { Clock } from '../ground/clock.js';
import { causeOf, RowcastError } from '../ground/error.js';
import { call } from '../ground/notify.js';
import { PROTOCOL, type Reply } from '../protocol/index.js';
import type { Carrier, Request, SessionEvents, SessionState } from '../session/connection.js';
import { type Environment, HURRY_INTERVAL, SLOW } from '../session/environment.js';
import { Roster } from '../transport/roster.js';
import type { Answer, Exchange } from './answer.js';
import { Breaker } from './breaker.js';
import { Channels } from './channels.js';
import type { PollingSettings, PollingStats } from './settings.js';
import { Statistics } from './statistics.js';

export interface PollerOptions {
  readonly settings: PollingSettings;
  readonly exchange: Exchange;
  readonly token: () => Promise<string | undefined>;
  readonly clock: Clock;
  readonly backoff: Backoff;
  readonly environment: Environment;
  /** False while the platform knows that there is no network. */
  readonly online: () => boolean;
  readonly events: SessionEvents;
}

/**
 * Asks the gateway from time to time, for all channels in one request, one request at a time. To the subscriptions it
 * is a connection that stands from the first answer until a request fails. `close` ends its request and timer (I7).
 */
export class Poller implements Carrier {
  readonly #options: PollerOptions;
  readonly #breaker: Breaker;
  readonly #statistics: Statistics;
  readonly #channels: Channels;
  readonly #replies = new Map<number, (reply: Reply) => void>();
  #state: SessionState = 'waiting';
  #started = false;
  #paused = false;
  /** The commands that stand; null from a failure until the next request. */
  #roster: Roster | null = null;
  #lastId = 0;
  /** The request that is out, or whose answer is being read. */
  #request: AbortController | null = null;
  #begunAt = Number.NEGATIVE_INFINITY;
  /** The token that stands has expired: the next request brings a fresh one. Another such refusal counts as a failure. */
  #expired = false;
  /** Another request follows that one at once. */
  #wanted = false;
  /** The gateway said to come back then, not before. */
  #earliest = 0;
  #interval: number | null = null;
  #cancelTimer: () => void = () => {};
  #unwatch: () => void = () => {};

  constructor(options: PollerOptions) {
    const { settings, clock } = options;
    this.#options = options;
    this.#breaker = new Breaker(settings.breakerFailures);
    this.#statistics = new Statistics(clock, settings.thresholds);
    this.#channels = new Channels(settings, settings.stateOf);
  }

  get state(): SessionState {
    return this.#state;
  }

  get transport(): 'poll' | null {
    return this.#state === 'connected' ? 'poll' : null;
  }

  get stats(): PollingStats {
    const { state: breaker } = this.#breaker;
    return { ...this.#statistics.stats, interval: this.#interval, breaker, paused: this.#paused };
  }

  start(): void {
    if (this.#started) return;
    this.#started = true;
    this.#unwatch = this.#options.environment.watch(
      () => this.#doubt(),
      () => this.#abort(),
    );
    if (!this.#paused) this.#want();
  }

  request(command: Request, onReply: (reply: Reply) => void = () => {}): void {
    this.#lastId += 1;
    const id = this.#lastId;
    this.#replies.set(id, onReply);
    if (command.type === 'subscribe') this.#channels.owe(command.channel);
    const replies = this.#roster?.take({ ...command, id }) ?? [];
    for (const reply of replies) this.#reply(reply.id, reply);
    if (replies.length > 0) return;
    // While paused a request is out only because somebody wanted it, and this belongs to it.
    if (!this.#paused || this.#request !== null) this.#want();
  }

  /** No request until `resume`; one that is out is given up, and its commands are said again. */
  pause(): void {
    if (this.#paused || this.#state === 'closed') return;
    this.#paused = true;
    this.#interval = null;
    this.#abort();
    if (this.#state === 'connecting') this.#enter('waiting');
    this.#tell();
  }

  resume(): void {
    if (!this.#paused || this.#state === 'closed') return;
    this.#paused = false;
    this.refresh();
    this.#tell();
  }

  /** Asks now, for what was finished as well; while paused, once. */
  refresh(): void {
    this.#channels.doubt();
    this.#want();
  }

  close(): void {
    if (this.#state !== 'closed') this.#end();
  }

  #end(error?: RowcastError): void {
    this.#leave();
    this.#interval = null;
    this.#unwatch();
    this.#enter('closed', error);
  }

  #enter(state: SessionState, error?: RowcastError): void {
    this.#state = state;
    this.#options.events.onState(state, error);
  }

  #tell(): void {
    if (this.#state === 'closed') return;
    const { onStats, onWarning } = this.#options.settings;
    call(onStats, this.stats);
    for (const warning of this.#statistics.warnings()) call(onWarning, warning);
  }

  #abort(): void {
    this.#cancelTimer();
    this.#request?.abort();
    this.#request = null;
    this.#wanted = false;
  }

  /** Forgets what stands: the subscriptions say it again. */
  #leave(): void {
    this.#abort();
    this.#roster = null;
    this.#expired = false;
    this.#replies.clear();
  }

  /** The way to the gateway may be another one. */
  #doubt(): void {
    const { clock, online } = this.#options;
    if (!online()) return this.#offline();
    const fresh = this.#request !== null && clock.now() - this.#begunAt < SLOW;
    if (this.#paused || fresh) return;
    this.#abort();
    this.#hurry();
  }

  /** Nothing can be asked, and that is nobody's failure. A sign comes with the network. */
  #offline(): void {
    this.#leave();
    this.#interval = null;
    if (this.#state !== 'waiting') this.#enter('waiting', new RowcastError('unavailable', 'there is no network'));
  }

  /** Asks as soon as may be. */
  #want(): void {
    if (!this.#started || this.#state === 'closed') return;
    if (this.#request !== null) this.#wanted = true;
    else if (this.#state === 'connected') this.#arm(0);
    else this.#hurry();
  }

  /** Without waiting for its turn, but not more often than that. */
  #hurry(): void {
    this.#arm(this.#begunAt + HURRY_INTERVAL - this.#options.clock.now());
  }

  #arm(delay: number): void {
    const { clock } = this.#options;
    this.#cancelTimer();
    this.#cancelTimer = clock.after(Math.max(0, delay, this.#earliest - clock.now()), () => this.#ask());
  }

  /** The next request in its turn; null: none before one is wanted. */
  #plan(interval: number | null): void {
    this.#interval = this.#paused ? null : interval;
    if (this.#interval !== null) this.#arm(this.#interval);
  }

  readonly #asks = (channel: string) => this.#channels.asks(channel);

  #ask(): void {
    const { clock, online, settings } = this.#options;
    if (!online()) return this.#offline();
    if (this.#state === 'connected' && !this.#roster?.channels.some(this.#asks)) return this.#plan(null);
    const trial = this.#breaker.state === 'open';
    this.#breaker.begin();
    const request = new AbortController();
    const current = () => request === this.#request;
    this.#request = request;
    this.#begunAt = clock.now();
    this.#cancelTimer = clock.after(settings.timeout, () => this.#fail('there was no answer in time'));
    if (trial) this.#tell();
    if (current() && this.#state === 'waiting') this.#enter('connecting');
    if (!current()) return; // a listener paused or closed
    this.#exchange(request.signal).then(
      (answer) => current() && this.#digest(answer, current),
      (reason: unknown) => current() && this.#fail(causeOf(reason)),
    );
  }

  async #exchange(signal: AbortSignal): Promise<Answer> {
    const { token, clock, exchange } = this.#options;
    if (this.#roster === null || this.#expired) {
      const value = await token();
      signal.throwIfAborted();
      this.#lastId += 1;
      if (this.#roster === null) this.#roster = this.#connect(this.#lastId, value);
      else if (value !== undefined) this.#roster.take({ type: 'refresh', id: this.#lastId, token: value });
      this.#begunAt = clock.now();
    }
    return exchange(this.#roster.commands(this.#asks), signal);
  }

  #connect(id: number, token: string | undefined): Roster {
    const roster = new Roster();
    this.#replies.set(id, ({ type }) => {
      if (type === 'connected') this.#enter('connected');
    });
    roster.take({ type: 'connect', id, protocol: PROTOCOL, ...(token === undefined ? {} : { token }) });
    return roster;
  }

  #digest({ frames, positions }: Answer, current: () => boolean): void {
    const time = this.#options.clock.now() - this.#begunAt;
    for (const frame of frames) {
      const heard = this.#roster?.digest(frame) ?? null;
      if (heard === null) continue;
      if (heard.type === 'error' && heard.id === undefined) {
        return this.#refused(new RowcastError(heard.code, heard.message), heard.retryAfter);
      }
      this.#channels.see(heard);
      if ('id' in heard && heard.id !== undefined) this.#reply(heard.id, heard as Reply);
      else this.#options.events.onFrame(heard);
      if (!current()) return; // a listener paused or closed: the rest is asked for again
    }
    // The gateway answers, but has no database: to whoever asks for events that is a failure.
    if (frames.some((frame) => 'code' in frame && frame.code === 'unavailable')) return this.#fail();
    this.#answered(time, frames, positions);
  }

  #answered(time: number, frames: Answer['frames'], positions: Answer['positions']): void {
    const standing = this.#roster?.channels ?? [];
    this.#expired = false;
    this.#channels.settle(frames, positions, standing);
    this.#statistics.answered(time);
    // That `connect` is answered proves little: what proves something follows at once.
    if (standing.length === 0 || frames.some(({ type }) => type === 'subscribed')) {
      this.#breaker.succeed();
      this.#options.backoff.reset();
      this.#statistics.recovered();
    }
    const moved = frames.some(({ type }) => type === 'events' || type === 'reset');
    const more = this.#wanted || (moved && this.#channels.owed);
    this.#abort();
    if (more) this.#arm(0);
    else this.#plan(this.#channels.interval(standing));
    this.#tell();
  }

  #reply(id: number, reply: Reply): void {
    const onReply = this.#replies.get(id);
    this.#replies.delete(id);
    onReply?.(reply);
  }

  /** The gateway does not serve the request. Where it says when to come back it is well, and nothing has failed. */
  #refused(error: RowcastError, retryAfter: number | undefined): void {
    if (!error.retries) return this.#end(error);
    if (error.code === 'token_expired' && this.#state === 'connected' && !this.#expired) {
      this.#expired = true;
      this.#abort();
      return this.#arm(0);
    }
    if (retryAfter === undefined) return this.#fail(error.message, error.code);
    const { backoff, clock } = this.#options;
    const delay = backoff.after(retryAfter);
    this.#earliest = clock.now() + delay;
    this.#wait(delay, error);
  }

  #fail(message?: string, code = 'unavailable'): void {
    const { backoff, settings } = this.#options;
    this.#statistics.failed();
    this.#breaker.fail();
    const open = this.#breaker.state === 'open';
    this.#wait(open ? backoff.after(settings.breakerCooldown) : backoff.next(), new RowcastError(code, message));
  }

  #wait(delay: number, error: RowcastError): void {
    this.#leave();
    this.#plan(delay);
    this.#enter('waiting', error);
    this.#tell();
  }
}
