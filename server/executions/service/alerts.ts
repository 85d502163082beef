/**
 * Alerts on executions, sent to a webhook: one message when an execution begins to break a rule, and one when it no longer does.
 * Every gateway does this, and the database decides which one has an episode and which one has a message. A message is
 * delivered once, or again with the same id if its gateway dies before it could note the delivery.
 */
import { z } from 'zod';
import type { Logger } from '../../ground/logger.js';
import type { Database } from '../../ports/database.js';
import { brokenRules, type Measures } from '../rules/alerts.js';
import type { Webhook } from './webhook.js';

/** Messages that are sent at once, and how many times in one tick. */
const BATCH = 10;
const ROUNDS = 20;

/** The latest events whose distances are what is usual, and how many distances are enough. */
const RECENT = 32;
const ENOUGH = 5;

/** The health of a running execution, as far as alerts need it. */
export type Judged = Pick<Measures, 'score' | 'attempts'>;

/** How long executions have been quiet, and how long they usually are, in milliseconds. What gateways write is no sign of life. */
const SILENCES = `
  SELECT w.id, s.quiet, CASE WHEN s.gaps >= ${ENOUGH} THEN s.usual END AS usual
    FROM unnest($1::uuid[]) w(id)
    CROSS JOIN LATERAL (
      SELECT count(g.gap) AS gaps, (percentile_disc(0.9) WITHIN GROUP (ORDER BY g.gap))::float8 AS usual,
             coalesce(round(extract(epoch FROM clock_timestamp() - max(g.created_at)) * 1000), 0)::float8 AS quiet
        FROM (SELECT l.created_at, extract(epoch FROM l.created_at - lag(l.created_at) OVER (ORDER BY l.seq)) * 1000 AS gap
                FROM (SELECT seq, created_at FROM @extschema@.agent_execution_logs
                       WHERE execution_id = w.id AND event_type <> 'health-update'
                       ORDER BY seq DESC LIMIT ${RECENT}) l) g) s`;
const silence = z.object({ id: z.string(), quiet: z.number(), usual: z.number().nullable() });

const instant = z.string().transform((text) => new Date(text).toISOString());
const message = z.object({
  message: z.object({
    phase: z.enum(['firing', 'resolved']),
    attempts: z.int(),
    rule: z.enum(['failed', 'health', 'errors', 'quiet']),
    execution_id: z.guid(),
    venture_id: z.guid(),
    episode: z.int(),
    value: z.number().nullable(),
    threshold: z.number().nullable(),
    began_at: instant,
    ended_at: instant.nullable(),
  }),
});
type Message = z.output<typeof message>['message'];

const nothing = z.object({});

export interface AlertsOptions {
  /** With the rights of a service, on the tables of executions. */
  readonly database: Database;
  readonly webhook: Webhook;
  readonly logger: Logger;
}

export class Alerts {
  readonly #database: Database;
  readonly #webhook: Webhook;
  readonly #logger: Logger;
  readonly #stopped = new AbortController();

  constructor({ database, webhook, logger }: AlertsOptions) {
    this.#database = database;
    this.#webhook = webhook;
    this.#logger = logger;
  }

  /** Begins and ends episodes by what is known of running executions, and sends what is due. */
  async tick(executions: ReadonlyMap<string, Judged>): Promise<void> {
    const ids = [...executions.keys()];
    await this.#database.transaction(async (sql) => {
      const silences = await sql.query(SILENCES, [ids], silence);
      const broken = silences.flatMap(({ id, quiet, usual }) => {
        const judged = executions.get(id);
        if (judged === undefined) return [];
        return brokenRules({ ...judged, quiet, usual }).map((rule) => ({ execution_id: id, ...rule }));
      });
      await sql.query(
        'SELECT FROM rowcast.judge_alerts($1::uuid[], $2::jsonb)',
        [ids, JSON.stringify(broken)],
        nothing,
      );
    });
    for (let round = 0; round < ROUNDS && !this.#stopped.signal.aborted; round += 1) {
      const due = await this.#database.transaction((sql) =>
        sql.query('SELECT rowcast.claim_alerts($1) AS message', [BATCH], message),
      );
      const delivered = await Promise.all(due.map((one) => this.#deliver(one.message)));
      // A receiver that does not answer is asked again in the next tick.
      if (due.length === 0 || delivered.includes(false)) return;
    }
  }

  /** Aborts what is being sent. It is sent again by another gateway, or by the next one. */
  stop(): void {
    this.#stopped.abort();
  }

  async #deliver({ phase, attempts, ...data }: Message): Promise<boolean> {
    const { execution_id, rule, episode, began_at, ended_at } = data;
    const body = JSON.stringify({ type: `alert.${phase}`, timestamp: ended_at ?? began_at, data });
    const id = `${execution_id}_${rule}_${episode}_${phase}`;
    const problem = await this.#webhook.send(id, body, this.#stopped.signal);
    if (problem !== null) {
      this.#logger.warn({ alert: id, attempts, problem }, 'an alert was not delivered');
      return false;
    }
    await this.#database.transaction((sql) =>
      sql.query('SELECT FROM rowcast.alert_told($1, $2, $3, $4)', [execution_id, rule, episode, phase], nothing),
    );
    return true;
  }
}
