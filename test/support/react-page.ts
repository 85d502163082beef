/** A page in jsdom for React, over a live store whose gateway, clock and frames the test drives. */
import { JSDOM } from 'jsdom';
import { createElement, type FunctionComponent, type ReactNode, StrictMode } from 'react';
import { LiveStore, type LiveStoreOptions } from '../../client/store/live-store.js';
import type { Platform } from '../../client/store/platform.js';
import { AutoGateway } from './auto-gateway.js';
import { FakeClock } from './fakes.js';

const { window } = new JSDOM('<!doctype html><body></body>', { url: 'http://page.test/' });
const { document, navigator } = window;
Object.assign(globalThis, { window, document, navigator, IS_REACT_ACT_ENVIRONMENT: true });

// They look for a page when they are loaded.
const { act } = await import('react');
const { createRoot, hydrateRoot } = await import('react-dom/client');
const { RowcastProvider } = await import('../../client/react/index.js');

export const FRAME = 16;

export class ReactPage {
  readonly gateway = new AutoGateway();
  readonly clock = new FakeClock();
  readonly platform: Platform = {
    clock: this.clock,
    frame: (task) => this.clock.after(FRAME, task),
    hidden: () => false,
    connect: (options) => this.gateway.connect(options),
  };
  readonly store: LiveStore;
  readonly body = window.document.createElement('div');
  /** What React complained of. */
  readonly errors: string[] = [];
  #root: { render(node: ReactNode): void; unmount(): void } | null = null;

  constructor(options: Partial<LiveStoreOptions> = {}) {
    this.store = new LiveStore(
      { url: 'http://gateway.test', fetch: async () => new Response('{}'), ...options },
      this.platform,
    );
  }

  get text(): string {
    return this.body.textContent ?? '';
  }

  /** Renders, in StrictMode, and lets everything happen that waits for no time. */
  async render(node: ReactNode): Promise<void> {
    this.#root ??= createRoot(this.body, this.#reports);
    await this.act(() => this.#root?.render(this.#inside(node)));
  }

  /** Takes over what a server has rendered. */
  async hydrate(html: string, node: ReactNode): Promise<void> {
    this.body.innerHTML = html;
    await this.act(() => {
      this.#root = hydrateRoot(this.body, this.#inside(node), this.#reports);
    });
  }

  async close(): Promise<void> {
    await this.unmount();
    this.store.close();
  }

  async unmount(): Promise<void> {
    await this.act(() => this.#root?.unmount());
    this.#root = null;
  }

  async act(task: () => unknown = () => {}): Promise<void> {
    await act(async () => {
      await task();
      await this.clock.turn(0);
    });
  }

  /** Time passes. */
  async wait(time: number): Promise<void> {
    await act(() => this.clock.turn(time));
  }

  get #reports() {
    const report = (error: unknown) => void this.errors.push(String(error));
    return { onRecoverableError: report, onUncaughtError: report };
  }

  #inside(node: ReactNode): ReactNode {
    return createElement(StrictMode, null, createElement(RowcastProvider, { store: this.store }, node));
  }
}

/** A component that is a function of nothing but its props, as an element. */
export function show<P extends object>(component: FunctionComponent<P>, props: P, key?: string): ReactNode {
  return createElement(component, { ...props, key });
}
