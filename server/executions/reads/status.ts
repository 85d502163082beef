import { Batch } from '../../ground/batch.js';
import { OneAtATime } from '../../ground/one-at-a-time.js';
import { Refusal } from '../../ground/refusal.js';
import type { Database } from '../../ports/database.js';
import type { Principal, Rights } from '../../ports/principal.js';
import { refuseUnseen } from '../rules/existence.js';
import type { ExecutionWithProgress, Progresses } from './progress.js';

/** Maximum number of executions in one statement, and of one user. */
const BATCH_SIZE = 100;
const OF_ONE = 10;

export interface StatusesOptions {
  readonly progresses: Progresses;
  readonly access: Rights;
  /** Has the rights of the service, because access is decided before it is used. */
  readonly serviceDatabase: Database;
  /** The same with other connections, for what takes longer. */
  readonly foldingDatabase: Database;
}

interface Question {
  readonly id: string;
  readonly subject: string;
}

/**
 * Reads the status of single executions, for frequent polling by many clients. Access to the channel of the execution is
 * checked first, usually from the cache; then the concurrent requests of all principals share one statement. Executions whose
 * events must be folded first do not hold up the others: they are read one after the other, in turn for each user.
 */
export class Statuses {
  readonly #access: Rights;
  readonly #batch: Batch<Question, ExecutionWithProgress | undefined>;
  readonly #cold = new OneAtATime();

  constructor({ progresses, access, serviceDatabase, foldingDatabase }: StatusesOptions) {
    this.#access = access;
    const foldings = new Batch<string, ExecutionWithProgress | undefined>(
      ([id = '']) => foldingDatabase.transaction(async (sql) => [(await progresses.of(sql, [id])).get(id)]),
      1,
      1,
    );
    this.#batch = new Batch(
      async (questions) => {
        const ids = [...new Set(questions.map(({ id }) => id))];
        const { found, cold } = await serviceDatabase.transaction((sql) => progresses.begin(sql, ids));
        const unfolded = new Set(cold.map(({ record }) => record.execution_id));
        return questions.map(({ id, subject }) =>
          unfolded.has(id) ? this.#cold.run(subject, () => foldings.ask(id)) : found.get(id),
        );
      },
      BATCH_SIZE,
      1,
      { ofOne: OF_ONE, nameOf: ({ subject }) => subject },
    );
  }

  /** `own` is the database with the rights of the principal. Rejects with `Refusal` or `Unavailable` if it may not see the execution. */
  async admit(principal: Principal, own: Database, id: string): Promise<void> {
    try {
      const permit = await this.#access.hold(principal, `execution:${id}`, () => {});
      permit.release();
    } catch (error) {
      if (error instanceof Refusal && error.code === 'forbidden') return refuse(own, id);
      throw error;
    }
  }

  /** Rejects as `admit` does. */
  async of(principal: Principal, own: Database, id: string): Promise<ExecutionWithProgress> {
    await this.admit(principal, own, id);
    return (await this.#batch.ask({ id, subject: principal.subject })) ?? refuse(own, id);
  }
}

const refuse = (own: Database, id: string) => own.transaction((sql) => refuseUnseen(sql, 'execution', id));
