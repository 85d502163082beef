/**
 * Retries work that fails transiently, with exponential backoff and full jitter. It also decides which errors of the
 * network and of PostgreSQL are transient. Public as `retrying` and `isTransient` of `rowcast/server`.
 */
import pRetry from 'p-retry';
import { Unavailable } from '../../ground/refusal.js';

export interface RetryPolicy {
  /** Maximum number of attempts after the first one. */
  readonly retries: number;
  /** Maximum delay before the first retry, in milliseconds. It doubles with each retry. */
  readonly base: number;
  /** Maximum delay before any retry, in milliseconds. */
  readonly cap: number;
  /** Whether a retry may succeed without any change. */
  readonly isTransient: (error: unknown) => boolean;
}

/** A failed attempt that will be retried. */
export interface Retry {
  /** The number of the attempt that failed, from 1. */
  readonly attempt: number;
  readonly error: unknown;
  /** The delay before the next attempt, in milliseconds. */
  readonly delay: number;
}

/** SQLSTATEs: connection, a read-only server, serialization, deadlock, resources, shutdown, a timeout of a statement or a lock. */
const TRANSIENT_STATE = /^(08...|25006|40001|40P01|53...|57P0.|57014|55P03)$/;
/** Error codes of Node.js, its fetch and its resolver for network failures. */
const TRANSIENT_CODE =
  /^(ECONN(RESET|REFUSED|ABORTED)|ETIMEDOUT|EPIPE|EAI_AGAIN|E(NET|HOST)(UNREACH|DOWN)|UND_ERR_(SOCKET|(CONNECT|HEADERS|BODY)_TIMEOUT))$/;
/** Messages of errors of `pg` that have no code. */
const TRANSIENT_MESSAGE = /^(Connection terminated|Query read timeout|timeout exceeded when trying to connect)/;
/** Maximum depth to which the causes of an error are followed. */
const DEPTH = 5;

interface Described {
  readonly name?: unknown;
  readonly message?: unknown;
  readonly code?: unknown;
  readonly cause?: unknown;
}

/** Whether an error is transient: caused by the network, the connection to the database, contention or a timeout. */
export function isTransient(error: unknown, depth = DEPTH): boolean {
  if (depth === 0 || typeof error !== 'object' || error === null) return false;
  if (error instanceof Unavailable) return true;
  const { name, message, code, cause } = error as Described;
  if (name === 'TimeoutError' || TRANSIENT_MESSAGE.test(String(message))) return true;
  if (typeof code === 'string' && (TRANSIENT_STATE.test(code) || TRANSIENT_CODE.test(code))) return true;
  return isTransient(cause, depth - 1);
}

export const POLICY: RetryPolicy = { retries: 4, base: 200, cap: 10_000, isTransient };

export interface RetryOptions extends Partial<RetryPolicy> {
  /** Aborts the delay between attempts, and further attempts. */
  readonly signal?: AbortSignal | undefined;
  /** Called before each delay. */
  readonly onRetry?: (retry: Retry) => void;
  /** Whether the process may exit during a delay. */
  readonly background?: boolean;
  readonly random?: () => number;
}

/**
 * Runs `work` until it succeeds or fails with an error that is not transient. Delays are random, from zero to a limit that
 * doubles (full jitter), so that clients that failed together do not retry together. Rejects with the last error of the
 * work, or with the reason of the signal.
 */
export async function retrying<T>(work: (attempt: number) => Promise<T> | T, options: RetryOptions = {}): Promise<T> {
  const {
    retries,
    base,
    cap,
    isTransient,
    signal,
    onRetry,
    background = false,
    random = Math.random,
  } = {
    ...POLICY,
    ...options,
  };
  signal?.throwIfAborted();
  // Kept here, because p-retry replaces thrown values that are no errors, and does not retry a TypeError.
  let failure: unknown;
  const attempt = async (number: number) => {
    try {
      return await work(number);
    } catch (error) {
      failure = error;
      throw new Error('failed', { cause: error });
    }
  };
  const shouldRetry = async ({ attemptNumber }: { attemptNumber: number }) => {
    if (!isTransient(failure) || signal?.aborted) return false;
    const delay = random() * Math.min(cap, base * 2 ** (attemptNumber - 1));
    onRetry?.({ attempt: attemptNumber, error: failure, delay });
    await passing(delay, background, signal);
    if (signal?.aborted) failure = signal.reason;
    return !signal?.aborted;
  };
  return pRetry(attempt, { retries, minTimeout: 0, shouldRetry }).catch(() => {
    throw failure;
  });
}

/** Resolves after `delay` milliseconds, or as soon as the signal is aborted. */
function passing(delay: number, background: boolean, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, delay);
    if (background) timer.unref();
    function done() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', done);
      resolve();
    }
    signal?.addEventListener('abort', done);
  });
}
