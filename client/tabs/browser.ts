import type { Command } from '../protocol/index.js';

/** What tabs of one origin have in common. Both are missing on pages without TLS, but for those of this machine. */
export interface Browser {
  /** Locks by name. One is free again when the tab that held it is gone, however it went. */
  readonly locks: Pick<LockManager, 'request'>;
  /** What is said on a channel is heard by all others of that name, in this tab too. */
  readonly BroadcastChannel: new (
    name: string,
  ) => Pick<BroadcastChannel, 'onmessage' | 'postMessage' | 'close'>;
}

/** What is said to all tabs of a group: a tab seeks its leader, or one has become the leader. */
export type Call = { readonly pipe: string; readonly command: Command } | { readonly leads: true };

/** From a tab to its leader. `read`: it is done with so many characters. */
export type Up = { readonly command: Command } | { readonly read: number };

/** From the leader to a tab: a frame as text, or its farewell. */
export type Down = { readonly text: string } | { readonly ends: true };

/** What a leader sends to a tab that has not said that it read it, in characters; a tab tells after a quarter of it. */
export const WINDOW = 1_048_576;

export function openBroadcast<Message>(
  { BroadcastChannel }: Browser,
  name: string,
  onMessage: (message: Message) => void,
): { post(message: Call | Up | Down): void; close(): void } {
  const channel = new BroadcastChannel(name);
  // Only this version of this library says anything on it: the version is part of the name.
  channel.onmessage = ({ data }) => onMessage(data as Message);
  return {
    post: (message) => channel.postMessage(message),
    close() {
      channel.onmessage = null;
      channel.close();
    },
  };
}

/** Waits for a lock and keeps it until the returned function is called. `onHeld` is not called after that. */
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
