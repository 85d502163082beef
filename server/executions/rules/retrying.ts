import pRetry from 'p-retry';
import { Unavailable } from '../../ground/refusal.js';

export interface RetryPolicy {
  /** After the first attempt. */
  readonly retries: number;
  /** The longest delay before the first retry, in milliseconds; it doubles with each. */
  readonly base: number;
  /** The longest delay ever, in milliseconds. */
  readonly cap: number;
  /** Whether the same may work later, by itself. */
  readonly isTransient: (error: unknown) => boolean;
}

/** A failed attempt, before the next. */
export interface Retry {
  /** The attempt that failed; the first is 1. */
  readonly attempt: number;
  readonly error: unknown;
  /** In milliseconds. */
  readonly delay: number;
}

/** SQLSTATEs: connection, a read-only server, serialization, deadlock, resources, shutdown, a timeout of a statement or a lock. */
const TRANSIENT_STATE = /^(08...|25006|40001|40P01|53...|57P0.|57014|55P03)$/;
/** What Node.js, its fetch and its resolver say about a network. */
const TRANSIENT_CODE =
  /^(ECONN(RESET|REFUSED|ABORTED)|ETIMEDOUT|EPIPE|EAI_AGAIN|E(NET|HOST)(UNREACH|DOWN)|UND_ERR_(SOCKET|(CONNECT|HEADERS|BODY)_TIMEOUT))$/;
/** Errors of `pg` that have no code. */
const TRANSIENT_MESSAGE = /^(Connection terminated|Query read timeout|timeout exceeded when trying to connect)/;
/** How far the causes of an error are followed. */
const DEPTH = 5;

interface Described {
  readonly name?: unknown;
  readonly message?: unknown;
  readonly code?: unknown;
  readonly cause?: unknown;
}

/** Whether an error comes from the network, the database's connection or a timeout, and so may pass. All others stay. */
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
  /** Ends the waiting between two attempts. */
  readonly signal?: AbortSignal | undefined;
  readonly onRetry?: (retry: Retry) => void;
  /** A program that has nothing else to do may end while this waits. */
  readonly background?: boolean;
  readonly random?: () => number;
}

/**
 * Does the work again while it fails transiently. The delay is drawn evenly from zero up to a limit that doubles (full
 * jitter), so that those who failed together do not come back together. Rejects with what the work rejected with last,
 * or with the reason of the signal.
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
  // Kept here, because p-retry gives an error of its own for what is none, and for a TypeError.
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

/** Resolves after `delay` milliseconds, or when the signal is aborted. */
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
