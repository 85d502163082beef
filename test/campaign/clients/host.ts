import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { packageRoot } from '../../../server/package-root.js';
import type { ClientPlan, ClientReport, Order, Report } from './plan.js';

const ANSWER_TIMEOUT = 60_000;

export type Status = Extract<Report, { type: 'status' }>;
export type Closing = Extract<Report, { type: 'closed' }>;

/** The process of the clients, as the campaign sees it. */
export class ClientHost {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;

  constructor(plans: readonly ClientPlan[], ports: readonly number[], folder: string) {
    const root = packageRoot();
    this.#child = fork(join(root, 'test/campaign/clients/main.ts'), {
      execArgv: ['--import', join(root, 'node_modules/tsx/dist/loader.mjs')],
    });
    this.#exited = once(this.#child, 'exit');
    this.#tell({ type: 'start', clients: plans, ports, folder });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  finish(): void {
    this.#tell({ type: 'finish' });
  }

  async ask(heads: Readonly<Record<string, string>> = {}): Promise<Status> {
    this.#tell({ type: 'ask', heads });
    return (await this.#answer('status')) as Status;
  }

  async close(): Promise<{ clients: readonly ClientReport[]; worstLagMs: number }> {
    this.#tell({ type: 'close' });
    const answer = (await this.#answer('closed')) as Closing;
    await this.#exited;
    return answer;
  }

  async kill(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    this.#child.kill('SIGKILL');
    await this.#exited;
  }

  #tell(order: Order): void {
    this.#child.send(order);
  }

  async #answer(type: Report['type']): Promise<Report> {
    const stop = AbortSignal.timeout(ANSWER_TIMEOUT);
    for (;;) {
      const answered = once(this.#child, 'message', { signal: stop });
      const ended = this.#exited.then(() => Promise.reject(new Error('the process of the clients has ended')));
      const [report] = (await Promise.race([answered, ended])) as [Report];
      if (report.type === type) return report;
    }
  }
}
