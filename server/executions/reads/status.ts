import { Batch } from '../../ground/batch.js';
import { Refusal } from '../../ground/refusal.js';
import type { Database } from '../../ports/database.js';
import type { Principal, Rights } from '../../ports/principal.js';
import { refuseUnseen } from '../rules/existence.js';
import type { Progresses, Standing } from './progress.js';

/** Questions that one statement answers, and statements under way at once. */
const TOGETHER = 100;
const STATEMENTS = 2;

export interface StatusesOptions {
  readonly progresses: Progresses;
  readonly access: Rights;
  /** Sees all: who may see what was decided before. */
  readonly everything: Database;
}

/**
 * Answers how single executions stand, to whoever may subscribe to their logs. That was decided a moment ago, as a rule, and
 * what all principals ask at the same time is one statement: many may ask often.
 */
export class Statuses {
  readonly #access: Rights;
  readonly #batch: Batch<string, Standing | undefined>;

  constructor({ progresses, access, everything }: StatusesOptions) {
    this.#access = access;
    this.#batch = new Batch(
      async (ids) => {
        const standings = await everything.transaction((sql) => progresses.of(sql, [...new Set(ids)]));
        return ids.map((id) => standings.get(id));
      },
      TOGETHER,
      STATEMENTS,
    );
  }

  /** `own` is the database as the principal sees it. Rejects with `Refusal` or `Unavailable`. */
  async of(principal: Principal, own: Database, id: string): Promise<Standing> {
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
