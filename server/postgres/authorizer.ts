import type pg from 'pg';
import { z } from 'zod';
import { Batch } from '../batch.js';
import type { Logger } from '../logger.js';
import { type AccessQuestion, type Authorizer, Unavailable } from '../ports.js';
import { isConnectionLoss } from './session.js';

const DECIDE = {
  name: 'decide',
  text: 'SELECT allowed, problem FROM rowcast.decide($1::text[], $2::text[], $3::text[])',
};
const decided = z.array(z.object({ allowed: z.boolean().nullable(), problem: z.string().nullable() }));

/** Questions that one statement answers: some 15 ms of it. */
const AT_ONCE = 500;

/** Asks Postgres as each principal (`rowcast.can_read`). What is asked while an answer is on its way is asked together. */
export class PostgresAuthorizer implements Authorizer {
  readonly #pool: pg.Pool;
  readonly #logger: Logger;
  readonly #batch = new Batch((questions: readonly AccessQuestion[]) => this.#decide(questions), AT_ONCE, 1);

  constructor(pool: pg.Pool, logger: Logger) {
    this.#pool = pool;
    this.#logger = logger;
  }

  mayRead(question: AccessQuestion): Promise<boolean | null> {
    return this.#batch.ask(question);
  }

  async #decide(questions: readonly AccessQuestion[]): Promise<(boolean | null)[]> {
    const roles = questions.map(({ principal }) => principal.role);
    const claims = questions.map(({ principal }) => principal.claims);
    const channels = questions.map(({ channel }) => channel);
    const rows = await this.#pool.query({ ...DECIDE, values: [roles, claims, channels] }).then(
      (result) => decided.parse(result.rows),
      (error: Error) => {
        throw isConnectionLoss(error) ? new Unavailable(`access: ${error.message}`, { cause: error }) : error;
      },
    );
    return questions.map(({ channel }, index) => {
      const { allowed, problem } = rows[index] ?? { allowed: null, problem: 'no answer' };
      if (allowed === null) this.#logger.error({ channel, problem }, 'who may read a channel could not be decided');
      return allowed;
    });
  }
}
