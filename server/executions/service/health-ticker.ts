/**
 * Writes the health of running executions, each once in a slot of time, however many gateways there are: the key of the table
 * decides which of them writes it. Readers are told by the event `health-update`. It is the health that every client computes.
 */
import { type Health, healthOf } from '@rowcast/client/progress';
import { z } from 'zod';
import type { Logger } from '../../ground/logger.js';
import { Unavailable } from '../../ground/refusal.js';
import { Repeated } from '../../ground/repeated.js';
import type { Database } from '../../ports/database.js';
import type { Progresses } from '../reads/progress.js';
import type { Alerts, Judged } from './alerts.js';

/** The length of a slot, in milliseconds. */
export const SLOT = 30_000;

/** The number of executions that are read in one transaction, and in one tick: those that were written to last. */
const BATCH = 50;
const MAX_EXECUTIONS = 1_000;

export interface HealthTickerOptions {
  /** With the rights of a service, on the tables of executions. */
  readonly database: Database;
  readonly progresses: Progresses;
  /** Null: there is no receiver for them. */
  readonly alerts: Alerts | null;
  readonly logger: Logger;
}

export class HealthTicker {
  readonly #database: Database;
  readonly #progresses: Progresses;
  readonly #alerts: Alerts | null;
  readonly #logger: Logger;
  readonly #ticks: Repeated;

  constructor({ database, progresses, alerts, logger }: HealthTickerOptions) {
    this.#database = database;
    this.#progresses = progresses;
    this.#alerts = alerts;
    this.#logger = logger;
    this.#ticks = new Repeated(
      () => this.tick(Date.now()),
      // At a time of its own within the slot: gateways that began together would all compute at once.
      () => SLOT - (Date.now() % SLOT) + Math.random() * (SLOT / 10),
      (error) => logger.warn({ err: error }, 'the health of executions could not be written'),
    );
  }

  start(): void {
    this.#ticks.start();
  }

  /** Waits for the present tick. */
  async stop(): Promise<void> {
    this.#alerts?.stop();
    await this.#ticks.stop();
  }

  /** Writes the health at a time, in milliseconds since 1970, and has what it wrote judged for alerts: by no other gateway. */
  async tick(now: number): Promise<void> {
    const slot = Math.floor(now / SLOT);
    const due = `SELECT e.execution_id AS id FROM @extschema@.agent_executions e
      WHERE e.status = 'running' AND NOT EXISTS (SELECT FROM @extschema@.execution_health_snapshots h
        WHERE h.execution_id = e.execution_id AND h.slot = $1)
      ORDER BY e.updated_at DESC LIMIT ${MAX_EXECUTIONS}`;
    const ids = await this.#database.transaction((sql) => sql.query(due, [slot], z.object({ id: z.guid() })));
    const judged = new Map<string, Judged>();
    for (let from = 0; from < ids.length && !this.#ticks.stopped; from += BATCH) {
      const batch = ids.slice(from, from + BATCH).map(({ id }) => id);
      const found = await this.#database.transaction((sql) => this.#progresses.of(sql, batch));
      // A transaction for each: it holds the channel of its execution, whose writers wait.
      for (const [id, { state }] of found) {
        const health = healthOf(state, now);
        try {
          if (await this.#record(id, slot, health))
            judged.set(id, { score: health.score, attempts: state.steps.attempts });
        } catch (error) {
          if (error instanceof Unavailable) throw error;
          this.#logger.warn({ err: error, execution_id: id }, 'the health of an execution could not be written');
        }
      }
    }
    await this.#alerts?.tick(judged);
  }

  /** Returns whether no other gateway has. */
  async #record(id: string, slot: number, { score, word, reasons, predictedEnd }: Health): Promise<boolean> {
    const end = predictedEnd === null ? null : new Date(predictedEnd.expected).toISOString();
    const [row] = await this.#database.transaction((sql) =>
      sql.query(
        'SELECT rowcast.record_health($1, $2, $3, $4, $5::jsonb, $6::timestamptz) AS written',
        [id, slot, score, word, JSON.stringify(reasons), end],
        z.object({ written: z.boolean() }),
      ),
    );
    return row?.written === true;
  }
}
