import { type Command, outcomes, parseFrame } from '../protocol/index.js';
import type { Link, LinkEvents } from '../transport/rung.js';
import { type Browser, type Call, type Down, holdLock, openBroadcast, WINDOW } from './browser.js';

type Connect = Extract<Command, { type: 'connect' }>;

/** A tab's way to the tab that leads. `connect` begins it, because the token says with whom it is shared. */
export class TabLink implements Link {
  readonly #browser: Browser;
  readonly #events: LinkEvents;
  /** The group of a token; null where it cannot be shared. */
  readonly #groupOf: (token: string | undefined) => string | null;
  readonly #enter: (group: string) => void;
  #group: string | null = null;
  #pipe: ReturnType<typeof openBroadcast> | null = null;
  #answered = false;
  #unread = 0;
  #over = false;
  #leave: () => void = () => {};

  constructor(
    browser: Browser,
    events: LinkEvents,
    groupOf: (token: string | undefined) => string | null,
    enter: (group: string) => void,
  ) {
    this.#browser = browser;
    this.#events = events;
    this.#groupOf = groupOf;
    this.#enter = enter;
  }

  send(command: Command): void {
    if (command.type === 'connect') return this.#connect(command);
    if (command.type !== 'refresh') return this.#pipe?.post({ command });
    if (this.#groupOf(command.token) !== this.#group) return this.end();
    this.#pipe?.post({ command: { ...command, token: '' } });
  }

  close(): void {
    this.#over = true;
    this.#leave();
  }

  /** The leader is gone, or this tab has to look for another one: at once. */
  end(): void {
    if (this.#over) return;
    const message = 'the leading tab is another one';
    this.close();
    this.#events.onFrame({ type: 'error', code: 'shutting_down', message, retryAfter: 0 });
    this.#events.onClose(outcomes.shutting_down.close, message);
  }

  #connect({ token, ...connect }: Connect): void {
    const group = this.#groupOf(token);
    if (group === null) return this.#fail();
    const name = `${group} ${crypto.randomUUID()}`;
    let held = false;
    const seek = () => hall.post({ pipe: name, command: connect }); // the token stays in this tab
    const hall = openBroadcast<Call>(this.#browser, group, (call) => {
      if (!('leads' in call)) return;
      if (this.#answered) this.end();
      else if (held) seek();
    });
    const pipe = openBroadcast<Down>(this.#browser, name, (message) => this.#receive(message));
    const onHeld = () => {
      held = true;
      seek();
    };
    // The leader waits for it too, behind this tab, and so learns when the tab is gone.
    const release = holdLock(this.#browser, name, onHeld, () => this.#fail());
    this.#group = group;
    this.#pipe = pipe;
    this.#leave = () => {
      hall.close();
      pipe.close();
      release();
    };
    this.#enter(group);
  }

  #fail(): void {
    this.close();
    // Not from within `send`.
    queueMicrotask(() => this.#events.onClose(1006, 'this token, or this page, cannot share a connection'));
  }

  #receive(message: Down): void {
    this.#answered = true;
    if ('ends' in message) return this.end();
    const frame = parseFrame(message.text);
    if (frame === null) this.#events.onHeard();
    else this.#events.onFrame(frame);
    this.#unread += message.text.length;
    if (this.#over || this.#unread < WINDOW / 4) return;
    this.#pipe?.post({ read: this.#unread });
    this.#unread = 0;
  }
}
