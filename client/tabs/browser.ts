import type { Command } from '../protocol/index.js';

/** What the tabs of one origin share. Pages that are not served from a secure origin have no locks. */
export interface Browser {
  /** Locks by name. The browser releases a lock when the tab that holds it is gone, for whatever reason. */
  readonly locks: Pick<LockManager, 'request'>;
  /** A message reaches all other channels of the same name, those of this tab included. */
  readonly BroadcastChannel: new (
    name: string,
  ) => Pick<BroadcastChannel, 'onmessage' | 'postMessage' | 'close'>;
}

/** The locks and channels of this platform, or null: then each tab has a connection of its own. */
export function browserOf(scope: Partial<typeof globalThis>): Browser | null {
  const { BroadcastChannel, navigator } = scope;
  const locks: Browser['locks'] | undefined = navigator?.locks; // missing on insecure pages and in older Node.js
  return BroadcastChannel === undefined || locks === undefined ? null : { BroadcastChannel, locks };
}

/** To all tabs of a group: a tab connects, over a channel of its own named `pipe`; or a tab has become the leader. */
export type GroupMessage = { readonly pipe: string; readonly command: Command } | { readonly leads: true };

/** From a tab to its leader. `read`: the number of characters that the tab has processed. */
export type ToLeader = { readonly command: Command } | { readonly read: number };

/** From the leader to a tab: a frame as text, or the end of the connection. */
export type FromLeader = { readonly text: string } | { readonly ends: true };

/**
 * The number of characters that a leader sends ahead of what the tab has processed (I6). The tab reports after each
 * quarter of it.
 */
export const WINDOW = 1_048_576;

export function openBroadcast<Message>(
  { BroadcastChannel }: Browser,
  name: string,
  onMessage: (message: Message) => void,
): { post(message: GroupMessage | ToLeader | FromLeader): void; close(): void } {
  const channel = new BroadcastChannel(name);
  // The name holds the version of these messages, so a message of another form cannot arrive.
  channel.onmessage = ({ data }) => onMessage(data as Message);
  return {
    post: (message) => channel.postMessage(message),
    close() {
      channel.onmessage = null;
      channel.close();
    },
  };
}

/** Waits for a lock and holds it until the returned function is called; `onHeld` is not called after that. */
export function holdLock({ locks }: Browser, name: string, onHeld: () => void, onFailed: () => void): () => void {
  const abort = new AbortController();
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { signal } = abort;
  const hold = () => {
    if (signal.aborted) return;
    onHeld();
    return held;
  };
  locks.request(name, { signal }, hold).catch(() => signal.aborted || onFailed());
  return () => {
    abort.abort();
    release();
  };
}
