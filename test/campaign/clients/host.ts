import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { program } from '../../support/programs.js';
import type { ClientPlan, ClientReport, Order, Ports, Report } from './plan.js';

const ANSWER_TIMEOUT = 60_000;

export type Status = Extract<Report, { type: 'status' }>;
export type Closing = Extract<Report, { type: 'closed' }>;

/** The process of the clients, as the campaign sees it. */
export class ClientHost {
  readonly #child: ChildProcess;
  readonly #exited: Promise<unknown>;
  #asked = 0;

  /** `doors`: the ports for those who go up and down. */
  constructor(plans: readonly ClientPlan[], ports: Ports, doors: Ports, folder: string) {
    this.#child = fork(program('test/campaign/clients/main.ts'), { execArgv: [] });
    this.#exited = once(this.#child, 'exit');
    this.#tell({ type: 'start', clients: plans, ports, doors, folder });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  finish(): void {
    this.#tell({ type: 'finish' });
  }

  /** The network has changed: every client may look for a better way. */
  sign(): void {
    this.#tell({ type: 'sign' });
  }

  async ask(heads: Readonly<Record<string, string>> = {}): Promise<Status> {
    this.#asked += 1;
    const number = this.#asked;
    this.#tell({ type: 'ask', number, heads });
    return (await this.#answer((report) => report.type === 'status' && report.number === number)) as Status;
  }

  async close(): Promise<{ clients: readonly ClientReport[]; worstLagMs: number }> {
    this.#tell({ type: 'close' });
    const answer = (await this.#answer(({ type }) => type === 'closed')) as Closing;
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

  async #answer(isIt: (report: Report) => boolean): Promise<Report> {
    const stop = AbortSignal.timeout(ANSWER_TIMEOUT);
    for (;;) {
      const answered = once(this.#child, 'message', { signal: stop });
      const ended = this.#exited.then(() => Promise.reject(new Error('the process of the clients has ended')));
      const [report] = (await Promise.race([answered, ended])) as [Report];
      if (isIt(report)) return report;
    }
  }
}
