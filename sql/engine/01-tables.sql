-- The tables of the engine, in the schema @extschema@, beside those of the executions that it runs.
--
-- An execution that has a row in strategy_executions is run by the engine: its tasks are rows of agent_tasks, and workers
-- take them by the functions of 05-workers.sql. An execution without such a row is written by its own service, as before.

-- Workers that speak SQL have this role, and no right but to call those functions.
DO $$
BEGIN
  FOR attempt IN 1 .. 10 LOOP
    BEGIN
      IF to_regrole('agent_worker') IS NULL THEN
        CREATE ROLE agent_worker NOLOGIN NOINHERIT;
        COMMENT ON ROLE agent_worker IS 'made by rowcast migrate';
      END IF;
      IF NOT pg_has_role('rowcast_gateway', 'agent_worker', 'MEMBER') THEN
        GRANT agent_worker TO rowcast_gateway;
      END IF;
      EXIT;
    EXCEPTION
      WHEN duplicate_object OR unique_violation OR internal_error THEN NULL; -- another database was faster: look again
      WHEN insufficient_privilege THEN
        RAISE EXCEPTION 'the role agent_worker or its membership is missing, and % may not make it', quote_ident(current_user)
          USING ERRCODE = 'insufficient_privilege',
          HINT = E'Run this as a superuser or an administrator with CREATEROLE, and migrate again:\n'
            'CREATE ROLE agent_worker NOLOGIN NOINHERIT;\nGRANT agent_worker TO rowcast_gateway;';
    END;
  END LOOP;
END $$;

CREATE TYPE rowcast.task_status AS ENUM
  ('blocked', 'ready', 'running', 'waiting', 'completed', 'failed', 'skipped', 'cancelled');

-- One row for each execution that the engine runs. It counts no tasks: a row that every change of a task updated would cost
-- more than the indexes of the tasks, and could differ from them.
CREATE TABLE @extschema@.strategy_executions (
  execution_id    uuid PRIMARY KEY REFERENCES @extschema@.agent_executions ON DELETE CASCADE,
  strategy_id     text,
  source          jsonb, -- the items or the plan, as they were given
  stages          jsonb, -- their names, the first one first
  on_failure      text NOT NULL DEFAULT 'continue' CHECK (on_failure IN ('continue', 'hold', 'stop')),
  max_parallel    int CHECK (max_parallel > 0),
  priority        smallint NOT NULL DEFAULT 0,
  deadline_at     timestamptz,
  concurrency_key text CHECK (length(concurrency_key) BETWEEN 1 AND 200), -- of a venture one with the key is under way at a time
  queued_at       timestamptz, -- since when a start waits for that
  budget          numeric CHECK (budget > 0), -- it pauses
  cost_limit      numeric CHECK (cost_limit > 0), -- it is cancelled
  spent           numeric NOT NULL DEFAULT 0,
  pause_reason    text,
  total_tasks     int NOT NULL DEFAULT 0,
  forked_from     uuid,
  schedule_id     uuid,
  started_by      text NOT NULL DEFAULT rowcast.actor(),
  started_at      timestamptz,
  ended_at        timestamptz
) WITH (fillfactor = 70);
CREATE INDEX ON @extschema@.strategy_executions (deadline_at) WHERE deadline_at IS NOT NULL AND ended_at IS NULL;
CREATE INDEX ON @extschema@.strategy_executions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX ON @extschema@.strategy_executions (concurrency_key) WHERE concurrency_key IS NOT NULL AND ended_at IS NULL;

-- The policy for all tasks of a name. A plan that names an unknown type makes its row.
CREATE TABLE @extschema@.agent_types (
  agent_type            text PRIMARY KEY CHECK (length(agent_type) BETWEEN 1 AND 100),
  enabled               boolean NOT NULL DEFAULT true,
  max_running           int CHECK (max_running > 0),
  rate_count            int CHECK (rate_count > 0), -- so many begin in rate_seconds
  rate_seconds          int NOT NULL DEFAULT 60 CHECK (rate_seconds > 0),
  rate_tokens           double precision NOT NULL DEFAULT 0,
  rate_at               timestamptz NOT NULL DEFAULT '-infinity',
  max_attempts          int NOT NULL DEFAULT 3 CHECK (max_attempts BETWEEN 1 AND 100),
  backoff               text NOT NULL DEFAULT 'exponential' CHECK (backoff IN ('exponential', 'linear')),
  backoff_base_ms       int NOT NULL DEFAULT 2000 CHECK (backoff_base_ms >= 0),
  backoff_cap_ms        int NOT NULL DEFAULT 30000 CHECK (backoff_cap_ms >= 0),
  retry_on              text[] NOT NULL DEFAULT '{transient,rate_limited,timeout,worker_lost}',
  lease_seconds         int NOT NULL DEFAULT 30 CHECK (lease_seconds BETWEEN 1 AND 3600),
  timeout_seconds       int CHECK (timeout_seconds > 0),
  queue_timeout_seconds int NOT NULL DEFAULT 3600 CHECK (queue_timeout_seconds > 0)
) WITH (fillfactor = 70);

-- When a venture was last served by a type of agent: the next claim goes to the one that has waited longest.
CREATE TABLE @extschema@.agent_turns (
  agent_type text NOT NULL,
  venture_id uuid NOT NULL,
  served_at  timestamptz NOT NULL DEFAULT '-infinity',
  PRIMARY KEY (agent_type, venture_id)
) WITH (fillfactor = 50);

-- `held`: the execution is not running, so the row is left out of the index of claims. `waits_for`: how many of the tasks
-- that it needs have not ended yet. `because`: the task behind whose failure it was skipped, or the user that skipped it
-- (`passed`). A lease is new with each claim; it stays after a report, so that a report that is repeated is known.
CREATE TABLE @extschema@.agent_tasks (
  task_id         uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  execution_id    uuid NOT NULL REFERENCES @extschema@.strategy_executions ON DELETE CASCADE,
  venture_id      uuid NOT NULL,
  number          int NOT NULL, -- its place in the plan
  name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  agent_type      text NOT NULL REFERENCES @extschema@.agent_types,
  kind            text NOT NULL DEFAULT 'agent' CHECK (kind IN ('agent', 'human')),
  stage_number    int,
  input           jsonb NOT NULL DEFAULT '{}',
  priority        smallint NOT NULL DEFAULT 0,
  optional        boolean NOT NULL DEFAULT false,
  concurrency_key text,
  status          rowcast.task_status NOT NULL DEFAULT 'blocked',
  held            boolean NOT NULL DEFAULT false,
  passed          boolean NOT NULL DEFAULT false,
  because         text,
  waits_for       int NOT NULL DEFAULT 0,
  attempt         int NOT NULL DEFAULT 1,
  max_attempts    int NOT NULL,
  run_at          timestamptz NOT NULL DEFAULT '-infinity',
  due_at          timestamptz,
  due_seconds     int CHECK (due_seconds > 0), -- overrides the queue timeout of the type; a person has none otherwise
  signal          text,
  wait_until      timestamptz,
  lease           uuid,
  lease_until     timestamptz,
  timeout_at      timestamptz,
  worker_id       text,
  started_at      timestamptz,
  ended_at        timestamptz,
  said_at         timestamptz,
  sent_at         timestamptz,
  sendings        int NOT NULL DEFAULT 0,
  checkpoint      jsonb,
  output          jsonb,
  error           jsonb,
  usage           jsonb,
  item_ref        text,
  propagation_id  uuid,
  created_at      timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (execution_id, name)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX agent_tasks_ready ON @extschema@.agent_tasks (agent_type, venture_id, priority DESC, run_at, number)
  WHERE status = 'ready' AND NOT held AND kind = 'agent';
CREATE INDEX agent_tasks_running ON @extschema@.agent_tasks (agent_type, venture_id) WHERE status = 'running';
CREATE INDEX agent_tasks_leased ON @extschema@.agent_tasks (lease_until) WHERE status = 'running';
CREATE INDEX agent_tasks_due ON @extschema@.agent_tasks (due_at) WHERE status = 'ready' AND NOT held AND due_at IS NOT NULL;
CREATE INDEX agent_tasks_waiting ON @extschema@.agent_tasks (wait_until) WHERE status = 'waiting';
CREATE UNIQUE INDEX agent_tasks_key ON @extschema@.agent_tasks (venture_id, concurrency_key)
  WHERE status = 'running' AND concurrency_key IS NOT NULL;
CREATE INDEX agent_tasks_open ON @extschema@.agent_tasks (execution_id, status) WHERE status IN ('blocked', 'ready', 'running', 'waiting');
CREATE INDEX agent_tasks_failed ON @extschema@.agent_tasks (execution_id) WHERE status = 'failed';

CREATE TABLE @extschema@.agent_task_dependencies (
  task_id    uuid NOT NULL REFERENCES @extschema@.agent_tasks ON DELETE CASCADE,
  depends_on uuid NOT NULL REFERENCES @extschema@.agent_tasks ON DELETE CASCADE,
  needs      text NOT NULL DEFAULT 'completed' CHECK (needs IN ('completed', 'ended')),
  PRIMARY KEY (task_id, depends_on)
);
CREATE INDEX ON @extschema@.agent_task_dependencies (depends_on);

-- Which agents an item goes to, by its words. `agents` is a chain: each waits for the one before.
CREATE TABLE @extschema@.propagation_rules (
  rule_id    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  venture_id uuid, -- null: for all
  position   int NOT NULL DEFAULT 0,
  words      text[] NOT NULL CHECK (cardinality(words) BETWEEN 1 AND 100),
  agents     text[] NOT NULL CHECK (cardinality(agents) BETWEEN 1 AND 20),
  priority   text NOT NULL DEFAULT 'medium' CHECK (priority IN ('low', 'medium', 'high')),
  enabled    boolean NOT NULL DEFAULT true
);
INSERT INTO @extschema@.propagation_rules (position, words, agents, priority) VALUES
  (1, '{email,send,contact,outreach}', '{email,coordination}', 'high'),
  (2, '{write,create,generate,draft}', '{content,analysis}', 'high'),
  (3, '{research,analyze,study}', '{research,analysis}', 'medium'),
  (4, '{schedule,calendar,meeting}', '{scheduling,email}', 'high'),
  (5, '{coordinate,align,discuss}', '{coordination,analysis}', 'medium');

-- How each item became tasks: the rules that matched, by which word, and those that lost.
CREATE TABLE @extschema@.task_propagation_logs (
  propagation_id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  execution_id   uuid NOT NULL REFERENCES @extschema@.strategy_executions ON DELETE CASCADE,
  item_ref       text NOT NULL,
  item           jsonb NOT NULL,
  rules          jsonb NOT NULL,
  task_ids       uuid[] NOT NULL,
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX ON @extschema@.task_propagation_logs (execution_id);

-- The first of a name wins.
CREATE TABLE @extschema@.execution_signals (
  execution_id uuid NOT NULL REFERENCES @extschema@.strategy_executions ON DELETE CASCADE,
  name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  payload      jsonb,
  sent_by      text NOT NULL DEFAULT rowcast.actor(),
  created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (execution_id, name)
);

CREATE TABLE @extschema@.execution_schedules (
  schedule_id    uuid PRIMARY KEY DEFAULT gen_random_uuid(),
  venture_id     uuid NOT NULL REFERENCES @extschema@.ventures ON DELETE CASCADE,
  name           text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  cron           text NOT NULL,
  timezone       text NOT NULL DEFAULT 'UTC',
  request        jsonb NOT NULL,
  overlap        text NOT NULL DEFAULT 'skip' CHECK (overlap IN ('skip', 'queue', 'cancel')),
  enabled        boolean NOT NULL DEFAULT true,
  next_at        timestamptz,
  last_execution_id uuid,
  created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
  UNIQUE (venture_id, name)
);
CREATE INDEX ON @extschema@.execution_schedules (next_at) WHERE enabled;

-- Who has asked for work lately. Unlogged: after a crash it fills again within seconds.
CREATE UNLOGGED TABLE @extschema@.agent_workers (
  worker_id   text PRIMARY KEY CHECK (length(worker_id) BETWEEN 1 AND 200),
  agent_types text[] NOT NULL,
  slots       int,
  version     text,
  seen_at     timestamptz NOT NULL DEFAULT clock_timestamp()
);

-- Whether a worker that was seen then is alive. One says so each 10 s.
CREATE FUNCTION rowcast.is_alive(seen_at timestamptz) RETURNS boolean LANGUAGE sql STABLE PARALLEL SAFE
RETURN seen_at > now() - interval '30 seconds';
