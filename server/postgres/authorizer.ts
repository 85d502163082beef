import type pg from 'pg';
import { z } from 'zod';
import { Batch } from '../ground/batch.js';
import type { Logger } from '../ground/logger.js';
import { Unavailable } from '../ground/refusal.js';
import type { AccessQuestion, Authorizer } from '../ports/principal.js';
import { isConnectionLoss } from './session.js';

const DECIDE = {
  name: 'decide',
  text: 'SELECT allowed, problem FROM rowcast.decide($1::text[], $2::text[], $3::text[])',
};
const decided = z.array(z.object({ allowed: z.boolean().nullable(), problem: z.string().nullable() }));

/** Questions that one statement answers: some 15 ms of it. */
const AT_ONCE = 500;

/**
 * Asks Postgres as each principal (`rowcast.can_read`). What is asked while an answer is on its way is asked together, in
 * lines of their own: of each stream, so that a guard that is slow holds up nobody else; and of what is relied on, so that
 * whoever asks for much does not put off that a right is lost.
 */
export class PostgresAuthorizer implements Authorizer {
  readonly #pool: pg.Pool;
  readonly #logger: Logger;
  /** While somebody waits. */
  readonly #lines = new Map<string, Batch<AccessQuestion, boolean | null>>();

  constructor(pool: pg.Pool, logger: Logger) {
    this.#pool = pool;
    this.#logger = logger;
  }

  mayRead(question: AccessQuestion, again: boolean): Promise<boolean | null> {
    const [stream = ''] = question.channel.split(':', 1);
    const name = `${again} ${stream}`;
    const line = this.#lines.get(name) ?? new Batch((questions) => this.#decide(questions), AT_ONCE, 1);
    this.#lines.set(name, line);
    return line.ask(question).finally(() => {
      if (line.idle && this.#lines.get(name) === line) this.#lines.delete(name);
    });
  }

  async #decide(questions: readonly AccessQuestion[]): Promise<(boolean | null)[]> {
    const roles = questions.map(({ principal }) => principal.role);
    const claims = questions.map(({ principal }) => principal.claims);
    const channels = questions.map(({ channel }) => channel);
    try {
      const answers = decided.parse((await this.#pool.query({ ...DECIDE, values: [roles, claims, channels] })).rows);
      const failed = answers.findIndex(({ allowed }) => allowed === null);
      if (failed >= 0) this.#tell(channels[failed], answers[failed]?.problem);
      return questions.map((_, index) => answers[index]?.allowed ?? null);
    } catch (error) {
      const { message } = error as Error;
      if (isConnectionLoss(error)) throw new Unavailable(`access: ${message}`, { cause: error });
      // No handler in SQL catches a timeout: whose policy it was is known when each is asked by itself.
      if (questions.length > 1) return this.#oneByOne(questions);
      this.#tell(channels[0], message);
      return [null];
    }
  }

  async #oneByOne(questions: readonly AccessQuestion[]): Promise<(boolean | null)[]> {
    const answers: (boolean | null)[] = [];
    for (const question of questions) answers.push(...(await this.#decide([question])));
    return answers;
  }

  #tell(channel: string | undefined, problem: string | null | undefined): void {
    this.#logger.error({ channel, problem }, 'who may read a channel could not be decided');
  }
}
