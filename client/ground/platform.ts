/**
 * Types of the platform, for the public declarations. They compile in a project without the DOM library: a type that the
 * project does not have is replaced by the part of it that the client uses.
 */

/** `fetch`, as the platform declares it. */
export type Fetch = typeof globalThis extends { fetch: infer F }
  ? F
  : (input: string, init?: Readonly<Record<string, unknown>>) => Promise<unknown>;

/** The constructor of a WebSocket: that of the browser, or that of the package `ws`. */
export type WebSocketConstructor = new (
  url: string,
  protocols?: string | string[],
) => typeof globalThis extends { WebSocket: { prototype: infer S } } ? S : object;

/** What the client uses of an `AbortSignal`. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  addEventListener(type: 'abort', listener: () => void): void;
  removeEventListener(type: 'abort', listener: () => void): void;
}
