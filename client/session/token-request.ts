import type { Clock } from '../ground/clock.js';

/** How long the application may take to return a token, in milliseconds. */
const TOKEN_TIMEOUT = 10_000;

/** Asks the application for a token and calls one of the two functions, unless the returned function cancels it first. */
export function requestToken(
  token: () => Promise<string | undefined>,
  clock: Clock,
  onToken: (token: string | undefined) => void,
  onNone: (reason: unknown) => void,
): () => void {
  let over = false;
  const settle = <T>(task: (value: T) => void) => {
    return (value: T) => {
      if (over) return;
      cancel();
      task(value);
    };
  };
  const cancelTimer = clock.after(TOKEN_TIMEOUT, () => settle(onNone)('timeout'));
  const cancel = () => {
    over = true;
    cancelTimer();
  };
  token().then(settle(onToken), settle(onNone));
  return cancel;
}
