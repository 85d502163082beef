/**
 * Decides access with the role and claims of each principal (`rowcast.decide`). Questions that arrive during a statement are
 * combined in the next one. There are separate queues for each stream, so that a slow guard delays its own stream only; and
 * for questions that subscriptions rely on, so that new subscriptions cannot delay a revocation.
 *
 * Within a stream no user delays the others: a statement takes a few questions of each, and has little time. Questions that
 * take longer are asked again alone, on a connection of their own, and so are the next ones of the same user.
 */
import { LRUCache } from 'lru-cache';
import type pg from 'pg';
import { z } from 'zod';
import { Batch } from '../ground/batch.js';
import type { Logger } from '../ground/logger.js';
import type { Metrics } from '../ground/metrics.js';
import { Once } from '../ground/once.js';
import { OneAtATime } from '../ground/one-at-a-time.js';
import { Unavailable } from '../ground/refusal.js';
import type { AccessQuestion, Authorizer } from '../ports/principal.js';
import { isConnectionLoss, isTimeout } from './session.js';

const DECIDE = {
  name: 'decide',
  text: 'SELECT allowed, problem FROM rowcast.decide($1::text[], $2::text[], $3::text[])',
};
const decided = z.array(z.object({ allowed: z.boolean().nullable(), problem: z.string().nullable() }));

/** Maximum number of questions in one statement, which takes about 15 ms; and of one subject. */
const AT_ONCE = 500;
const OF_ONE_AT_ONCE = 10;

/** How long the questions of a user are asked alone after one of them was slow, in milliseconds. Users that are remembered. */
const SLOW_FOR = 10_000;
const MAX_SLOW = 10_000;

export interface AuthorizerPools {
  /** Its statements have little time. */
  readonly quick: pg.Pool;
  /** Its statements have as much time as a decision may take. One of its connections is used. */
  readonly slow: pg.Pool;
}

export class PostgresAuthorizer implements Authorizer {
  readonly #quick: pg.Pool;
  readonly #logger: Logger;
  readonly #metrics: Metrics;
  /** Failures that were logged, by stream. */
  readonly #logged = new Once();
  /** The queues with pending questions. */
  readonly #queues = new Map<string, Batch<AccessQuestion, boolean | null>>();
  readonly #slow: Batch<AccessQuestion, boolean | null>;
  /** One question of a subject at a time, so that it has one turn among all that are slow. */
  readonly #alone = new OneAtATime();
  /** Streams and subjects with a slow question. */
  readonly #slowSubjects = new LRUCache<string, true>({ max: MAX_SLOW, ttl: SLOW_FOR });

  constructor({ quick, slow }: AuthorizerPools, logger: Logger, metrics: Metrics) {
    this.#quick = quick;
    this.#logger = logger;
    this.#metrics = metrics;
    this.#slow = new Batch((questions) => this.#ask(slow, questions), 1, 1);
  }

  mayRead(question: AccessQuestion, again: boolean): Promise<boolean | null> {
    if (this.#slowSubjects.has(subjectOf(question))) return this.#askAlone(question);
    const name = `${again} ${streamOf(question)}`;
    const fairness = { ofOne: OF_ONE_AT_ONCE, nameOf: subjectOf };
    const queue = this.#queues.get(name) ?? new Batch((asked) => this.#decide(asked), AT_ONCE, 1, fairness);
    this.#queues.set(name, queue);
    return queue.ask(question).finally(() => {
      if (queue.idle && this.#queues.get(name) === queue) this.#queues.delete(name);
    });
  }

  /** The answers to slow questions come later, and do not hold up the next statement. */
  async #decide(questions: readonly AccessQuestion[]): Promise<(boolean | null | Promise<boolean | null>)[]> {
    try {
      return await this.#ask(this.#quick, questions);
    } catch (error) {
      if (!isTimeout(error)) throw error;
    }
    // SQL cannot catch a timeout of the statement. Asking each question alone shows which one is slow.
    const answers: (boolean | null | Promise<boolean | null>)[] = [];
    for (const question of questions) {
      if (questions.length > 1) answers.push(...(await this.#decide([question])));
      else {
        this.#slowSubjects.set(subjectOf(question), true);
        answers.push(this.#askAlone(question));
      }
    }
    return answers;
  }

  #askAlone(question: AccessQuestion): Promise<boolean | null> {
    return this.#alone.run(subjectOf(question), async () => {
      try {
        return (await this.#slow.ask(question)) ?? null;
      } catch (error) {
        if (!isTimeout(error)) throw error;
        this.#failed(question.channel, (error as Error).message);
        return null;
      }
    });
  }

  /** Rejects with `Unavailable`, or with the error of a timeout. */
  async #ask(pool: pg.Pool, questions: readonly AccessQuestion[]): Promise<(boolean | null)[]> {
    const roles = questions.map(({ principal }) => principal.role);
    const claims = questions.map(({ principal }) => principal.claims);
    const channels = questions.map(({ channel }) => channel);
    try {
      const answers = decided.parse((await pool.query({ ...DECIDE, values: [roles, claims, channels] })).rows);
      return questions.map(({ channel }, index) => {
        const { allowed = null, problem = null } = answers[index] ?? {};
        if (allowed === null) this.#failed(channel, problem);
        return allowed;
      });
    } catch (error) {
      const { message } = error as Error;
      if (isConnectionLoss(error)) throw new Unavailable(`access: ${message}`, { cause: error });
      if (isTimeout(error)) throw error;
      for (const channel of channels) this.#failed(channel, message);
      return questions.map(() => null);
    }
  }

  /** Logged once for each stream and kind of problem: every reader asks again, and again. */
  #failed(channel: string, problem: string | null): void {
    this.#metrics.policyFailures.inc();
    const [stream] = channel.split(':', 1);
    const code = problem?.match(/\((\w{5})\)$/)?.[1] ?? problem;
    if (!this.#logged.first(`${stream} ${code}`)) return;
    this.#logger.error({ stream, channel, problem }, 'a policy or guard fails, the readers of its stream are refused');
  }
}

const streamOf = ({ channel }: AccessQuestion) => channel.split(':', 1)[0] ?? '';

/** A subject within a stream: a slow guard of one stream says nothing about another. */
function subjectOf(question: AccessQuestion): string {
  const { role, subject } = question.principal;
  return `${streamOf(question)} ${role} ${subject}`;
}
