import type { Json } from '../ground/json.js';
import { type Command, outcomes, parseFrame } from '../protocol/index.js';
import type { Link, LinkEvents } from '../transport/rung.js';
import { type Browser, type FromLeader, type GroupMessage, holdLock, openBroadcast, WINDOW } from './browser.js';

type Connect = Extract<Command, { type: 'connect' }>;

export interface TabLinkOptions {
  readonly browser: Browser;
  readonly events: LinkEvents;
  readonly json: Json;
  /** The group of the tabs with the principal of a token; null if the token cannot be shared. */
  readonly groupOf: (token: string | undefined) => string | null;
  /** Called with the group that the tab becomes part of. */
  readonly enter: (group: string) => void;
}

/** The link of a tab to the leading tab. It begins with `connect`, because the token determines the group. */
export class TabLink implements Link {
  readonly #browser: Browser;
  readonly #events: LinkEvents;
  readonly #json: Json;
  readonly #groupOf: TabLinkOptions['groupOf'];
  readonly #enter: TabLinkOptions['enter'];
  #group: string | null = null;
  #pipe: ReturnType<typeof openBroadcast> | null = null;
  #answered = false;
  #unread = 0;
  #over = false;
  #leave: () => void = () => {};

  constructor({ browser, events, json, groupOf, enter }: TabLinkOptions) {
    this.#browser = browser;
    this.#events = events;
    this.#json = json;
    this.#groupOf = groupOf;
    this.#enter = enter;
  }

  send(command: Command): void {
    if (command.type === 'connect') return this.#connect(command);
    if (command.type !== 'refresh') return this.#pipe?.post({ command });
    if (this.#groupOf(command.token) !== this.#group) return this.end();
    this.#pipe?.post({ command: { ...command, token: '' } }); // the token stays in this tab
  }

  close(): void {
    this.#over = true;
    this.#leave();
  }

  /** Ends the link, because another tab leads or has to: the session connects again at once. */
  end(): void {
    if (this.#over) return;
    const message = 'another tab leads';
    this.close();
    this.#events.onFrame({ type: 'error', code: 'shutting_down', message, retryAfter: 0 });
    this.#events.onClose(outcomes.shutting_down.close, message);
  }

  #connect({ token, ...connect }: Connect): void {
    const group = this.#groupOf(token);
    if (group === null) return this.#fail();
    const name = `${group} ${crypto.randomUUID()}`;
    let held = false;
    const seek = () => all.post({ pipe: name, command: connect }); // without the token, which stays in this tab
    const all = openBroadcast<GroupMessage>(this.#browser, group, (message) => {
      if (!('leads' in message)) return;
      if (this.#answered) this.end();
      else if (held) seek();
    });
    const pipe = openBroadcast<FromLeader>(this.#browser, name, (message) => this.#receive(message));
    const onHeld = () => {
      held = true;
      seek();
    };
    // The leader requests the same lock, and gets it when this tab is gone.
    const release = holdLock(this.#browser, name, onHeld, () => this.#fail());
    this.#group = group;
    this.#pipe = pipe;
    this.#leave = () => {
      all.close();
      pipe.close();
      release();
    };
    this.#enter(group);
  }

  #fail(): void {
    this.close();
    // A link reports nothing before `send` has returned.
    queueMicrotask(() => this.#events.onClose(1006, 'this token, or this page, cannot share a connection'));
  }

  #receive(message: FromLeader): void {
    this.#answered = true;
    if ('ends' in message) return this.end();
    const frame = parseFrame(message.text, this.#json);
    if (frame === null) this.#events.onHeard();
    else this.#events.onFrame(frame);
    this.#unread += message.text.length;
    if (this.#over || this.#unread < WINDOW / 4) return;
    this.#pipe?.post({ read: this.#unread });
    this.#unread = 0;
  }
}
