import type pg from 'pg';
import { z } from 'zod';
import { Batch } from '../ground/batch.js';
import type { Logger } from '../ground/logger.js';
import type { Metrics } from '../ground/metrics.js';
import { Once } from '../ground/once.js';
import { Unavailable } from '../ground/refusal.js';
import type { AccessQuestion, Authorizer } from '../ports/principal.js';
import { isConnectionLoss } from './session.js';

const DECIDE = {
  name: 'decide',
  text: 'SELECT allowed, problem FROM rowcast.decide($1::text[], $2::text[], $3::text[])',
};
const decided = z.array(z.object({ allowed: z.boolean().nullable(), problem: z.string().nullable() }));

/** Maximum number of questions in one statement, which takes about 15 ms. */
const AT_ONCE = 500;

/**
 * Decides access with the role and claims of each principal (`rowcast.can_read`). Questions that arrive during a statement
 * are combined in the next one. There are separate queues for each stream, so that a slow guard delays its own stream only;
 * and for questions that subscriptions rely on, so that new subscriptions cannot delay a revocation.
 */
export class PostgresAuthorizer implements Authorizer {
  readonly #pool: pg.Pool;
  readonly #logger: Logger;
  readonly #metrics: Metrics;
  /** Failures that were logged, by stream. */
  readonly #logged = new Once();
  /** The queues with pending questions. */
  readonly #queues = new Map<string, Batch<AccessQuestion, boolean | null>>();

  constructor(pool: pg.Pool, logger: Logger, metrics: Metrics) {
    this.#pool = pool;
    this.#logger = logger;
    this.#metrics = metrics;
  }

  mayRead(question: AccessQuestion, again: boolean): Promise<boolean | null> {
    const [stream = ''] = question.channel.split(':', 1);
    const name = `${again} ${stream}`;
    const queue = this.#queues.get(name) ?? new Batch((questions) => this.#decide(questions), AT_ONCE, 1);
    this.#queues.set(name, queue);
    return queue.ask(question).finally(() => {
      if (queue.idle && this.#queues.get(name) === queue) this.#queues.delete(name);
    });
  }

  async #decide(questions: readonly AccessQuestion[]): Promise<(boolean | null)[]> {
    const roles = questions.map(({ principal }) => principal.role);
    const claims = questions.map(({ principal }) => principal.claims);
    const channels = questions.map(({ channel }) => channel);
    try {
      const answers = decided.parse((await this.#pool.query({ ...DECIDE, values: [roles, claims, channels] })).rows);
      return questions.map(({ channel }, index) => {
        const { allowed = null, problem = null } = answers[index] ?? {};
        if (allowed === null) this.#failed(channel, problem);
        return allowed;
      });
    } catch (error) {
      const { message } = error as Error;
      if (isConnectionLoss(error)) throw new Unavailable(`access: ${message}`, { cause: error });
      // SQL cannot catch a timeout of the statement. Asking each question alone shows which policy is slow.
      if (questions.length > 1) return this.#oneByOne(questions);
      for (const channel of channels) this.#failed(channel, message);
      return [null];
    }
  }

  async #oneByOne(questions: readonly AccessQuestion[]): Promise<(boolean | null)[]> {
    const answers: (boolean | null)[] = [];
    for (const question of questions) answers.push(...(await this.#decide([question])));
    return answers;
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
