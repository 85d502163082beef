/** What the page asks of the engine, where the gateway has it. */
import { useEffect, useRef, useState } from 'react';
import { RowcastError } from '../../ground/error.js';
import { useWebSocketConnection } from '../../react/index.js';
import type { IconName } from '../../react/ui/icon.js';
import type { Asked } from '../use-asked.js';

/** The gateway writes the names of its extensions into the page. */
const extensions = document.querySelector<HTMLMetaElement>('meta[name="rowcast-extensions"]')?.content ?? '';
export const HAS_ENGINE = extensions.split(' ').includes('engine');

export type TaskStatus = 'blocked' | 'ready' | 'running' | 'waiting' | 'completed' | 'failed' | 'skipped' | 'cancelled';

export interface Task {
  readonly task_id: string;
  readonly name: string;
  readonly agent_type: string;
  readonly kind: string;
  readonly status: TaskStatus;
  readonly needs: readonly string[];
  readonly attempt: number;
  readonly max_attempts: number;
  readonly worker: string | null;
  readonly because: string | null;
  readonly error: { readonly class?: string; readonly message?: string } | null;
}

export interface RunExecution {
  readonly execution_id: string;
  readonly venture_id: string;
  readonly status: string;
  readonly pause_reason: string | null;
  readonly on_failure: string;
  readonly tasks: Readonly<Record<'total' | 'open' | 'running' | 'completed' | 'failed' | 'skipped', number>>;
  readonly budget: number | null;
  readonly spent: number;
  readonly forked_from: string | null;
}

export interface Started {
  readonly execution_id: string;
}

/** The sign of a task. It stands beside the word. */
export const SIGNS: Readonly<Record<TaskStatus, IconName>> = {
  blocked: 'pending',
  ready: 'play',
  running: 'running',
  waiting: 'paused',
  completed: 'completed',
  failed: 'failed',
  skipped: 'next',
  cancelled: 'cancelled',
};

/** A value that changes at most every so many milliseconds. */
export function useThrottled<T>(value: T, every: number): T {
  const [shown, show] = useState(value);
  const at = useRef(0);
  useEffect(() => {
    const timer = setTimeout(
      () => {
        at.current = Date.now();
        show(value);
      },
      Math.max(0, at.current + every - Date.now()),
    );
    return () => clearTimeout(timer);
  }, [value, every]);
  return shown;
}

/** The last answer, while the next one is on its way. */
export function useKept<T>({ data }: Asked<T>): T | undefined {
  const [kept, keep] = useState<T>();
  useEffect(() => {
    if (data !== undefined) keep(data);
  }, [data]);
  return data ?? kept;
}

export interface Act {
  /** One request is on its way, or the connection is lost: the next has to wait. */
  readonly busy: boolean;
  /** Why the last one was refused. */
  readonly error: RowcastError | null;
  readonly act: (request: () => Promise<unknown>) => Promise<void>;
}

/** Requests that change something, one at a time. */
export function useAct(): Act {
  const { state, transports, error: lost } = useWebSocketConnection();
  const offline = state !== 'connected' && (lost !== null || transports?.length === 0);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<RowcastError | null>(null);
  const act = async (request: () => Promise<unknown>) => {
    setBusy(true);
    setError(null);
    try {
      await request();
    } catch (reason) {
      setError(reason instanceof RowcastError ? reason : new RowcastError('internal', String(reason)));
    } finally {
      setBusy(false);
    }
  };
  return { busy: busy || offline, error, act };
}
