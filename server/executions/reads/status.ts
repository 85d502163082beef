import { Batch } from '../../ground/batch.js';
import { Refusal } from '../../ground/refusal.js';
import type { Database } from '../../ports/database.js';
import type { Principal, Rights } from '../../ports/principal.js';
import { refuseUnseen } from '../rules/existence.js';
import type { ExecutionWithProgress, Progresses } from './progress.js';

/** Maximum number of executions in one statement, and of concurrent statements. */
const BATCH_SIZE = 100;
const STATEMENTS = 2;

export interface StatusesOptions {
  readonly progresses: Progresses;
  readonly access: Rights;
  /** Has the rights of the service, because access is decided before it is used. */
  readonly serviceDatabase: Database;
}

/**
 * Reads the status of single executions, for frequent polling by many clients. Access to the channel of the execution is
 * checked first, usually from the cache; then the concurrent requests of all principals share one statement.
 */
export class Statuses {
  readonly #access: Rights;
  readonly #batch: Batch<string, ExecutionWithProgress | undefined>;

  constructor({ progresses, access, serviceDatabase }: StatusesOptions) {
    this.#access = access;
    this.#batch = new Batch(
      async (ids) => {
        const standings = await serviceDatabase.transaction((sql) => progresses.of(sql, [...new Set(ids)]));
        return ids.map((id) => standings.get(id));
      },
      BATCH_SIZE,
      STATEMENTS,
    );
  }

  /** `own` is the database with the rights of the principal. Rejects with `Refusal` or `Unavailable`. */
  async of(principal: Principal, own: Database, id: string): Promise<ExecutionWithProgress> {
    const refuse = () => own.transaction((sql) => refuseUnseen(sql, 'execution', id));
    try {
      const permit = await this.#access.hold(principal, `execution:${id}`, () => {});
      permit.release();
    } catch (error) {
      if (error instanceof Refusal && error.code === 'forbidden') return refuse();
      throw error;
    }
    return (await this.#batch.ask(id)) ?? refuse();
  }
}
