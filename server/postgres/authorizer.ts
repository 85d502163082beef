import type pg from 'pg';
import { z } from 'zod';
import { Batch } from '../batch.js';
import type { Logger } from '../logger.js';
import { type AccessQuestion, type Authorizer, Unavailable } from '../ports.js';
import { isConnectionLoss, isTimeout } from './session.js';

const DECIDE = {
  name: 'decide',
  text: 'SELECT allowed, problem FROM rowcast.decide($1::text[], $2::text[], $3::text[])',
};
const decided = z.array(z.object({ allowed: z.boolean().nullable(), problem: z.string().nullable() }));

/** Questions that one statement answers: some 15 ms of it. */
const AT_ONCE = 500;

/**
 * Asks Postgres as each principal (`rowcast.can_read`). What is asked of a stream while an answer is on its way is asked
 * together; of each stream by itself, so that a guard that is slow holds up nobody else.
 */
export class PostgresAuthorizer implements Authorizer {
  readonly #pool: pg.Pool;
  readonly #logger: Logger;
  /** By the name of the stream, while somebody waits. */
  readonly #batches = new Map<string, Batch<AccessQuestion, boolean | null>>();

  constructor(pool: pg.Pool, logger: Logger) {
    this.#pool = pool;
    this.#logger = logger;
  }

  mayRead(question: AccessQuestion): Promise<boolean | null> {
    const [stream = ''] = question.channel.split(':', 1);
    const batch = this.#batches.get(stream) ?? new Batch((questions) => this.#decide(questions), AT_ONCE, 1);
    this.#batches.set(stream, batch);
    return batch.ask(question).finally(() => {
      if (batch.idle && this.#batches.get(stream) === batch) this.#batches.delete(stream);
    });
  }

  async #decide(questions: readonly AccessQuestion[]): Promise<(boolean | null)[]> {
    const roles = questions.map(({ principal }) => principal.role);
    const claims = questions.map(({ principal }) => principal.claims);
    const channels = questions.map(({ channel }) => channel);
    const rows = await this.#pool.query({ ...DECIDE, values: [roles, claims, channels] }).then(
      (result) => decided.parse(result.rows),
      (error: Error) => {
        // Not the database, but the policies of this stream: nobody may go on reading because of them.
        if (isTimeout(error)) return questions.map(() => ({ allowed: null, problem: error.message }));
        throw isConnectionLoss(error) ? new Unavailable(`access: ${error.message}`, { cause: error }) : error;
      },
    );
    const failed = rows.findIndex(({ allowed }) => allowed === null);
    if (failed >= 0) {
      const { problem } = rows[failed] ?? {};
      this.#logger.error({ channel: channels[failed], problem }, 'who may read a channel could not be decided');
    }
    return questions.map((_, index) => rows[index]?.allowed ?? null);
  }
}
