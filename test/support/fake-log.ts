/** The tables of the database, and a tail over them, as the hub sees both. The test decides what is answered, and when. */
import { Unavailable } from '../../server/ground/refusal.js';
import type { PageLimits } from '../../server/hub/page.js';
import type { ChannelState, Feed, Movement, Pages, RunOfRows } from '../../server/ports/feed.js';
import { RowTexts, type StoredRow } from '../../server/ports/row-texts.js';

interface Table {
  epoch: string;
  /** The epoch that the tail has found last. */
  found: string;
  floor: number;
  head: number;
  /** The last row that the tail has read. */
  read: number;
  readonly rows: Map<number, StoredRow>;
}

interface PageQuestion {
  readonly channel: string;
  readonly after: number;
  readonly upTo: number;
  readonly resolve: (run: RunOfRows) => void;
  readonly reject: (error: Error) => void;
  /** What the snapshot of the statement saw, once it has begun. */
  seen: RunOfRows | null;
}

interface OpenQuestion {
  readonly channel: string;
  readonly resolve: (state: ChannelState | null) => void;
  readonly reject: (error: Error) => void;
}

const asTexts = (rows: readonly StoredRow[]) =>
  RowTexts.of(
    rows[0]?.seq ?? 0,
    rows.map(({ json }) => json),
  );

/** A row as the fake log keeps it: it says where it belongs. */
export interface LoggedRow {
  readonly epoch: string;
  readonly seq: number;
}

/**
 * The tables, and a tail over them. Opens are answered in the order of the questions, as on the tail's connection;
 * pages in any order. `prompt` answers at once; otherwise nothing is answered before the test says so.
 */
export class FakeLog implements Pick<Feed, 'open' | 'leave'>, Pages {
  readonly limits: PageLimits;
  readonly prompt: boolean;
  readonly opens: OpenQuestion[] = [];
  readonly pages: PageQuestion[] = [];
  /** Every page that was asked for, as `after..upTo`. */
  readonly asked: string[] = [];
  opened = 0;
  /** Channels that were opened and not left: a feed reports the movements of no others. */
  readonly followed = new Set<string>();
  readonly #tables = new Map<string, Table>();

  constructor(limits: PageLimits, prompt = true) {
    this.limits = limits;
    this.prompt = prompt;
  }

  get idle(): boolean {
    return this.opens.length === 0 && this.pages.length === 0;
  }

  create(channel: string, rows = 0): void {
    this.#tables.set(channel, { epoch: 'e1', found: 'e1', floor: 1, head: 0, read: 0, rows: new Map() });
    this.write(channel, rows);
    this.#table(channel).read = rows;
  }

  drop(channel: string): void {
    this.#tables.delete(channel);
  }

  write(channel: string, count: number, pad = 0): void {
    const table = this.#table(channel);
    for (let index = 0; index < count; index += 1) {
      table.head += 1;
      const row: LoggedRow = { epoch: table.epoch, seq: table.head };
      table.rows.set(table.head, {
        seq: table.head,
        json: JSON.stringify(pad > 0 ? { ...row, pad: 'x'.repeat(pad) } : row),
      });
    }
  }

  /** Deletes the rows below `floor`, as pruning does. */
  prune(channel: string, floor: number): void {
    const table = this.#table(channel);
    table.floor = Math.max(table.floor, Math.min(floor, table.head + 1));
    for (const seq of table.rows.keys()) if (seq < table.floor) table.rows.delete(seq);
  }

  /** Deletes rows without the triggers. */
  cut(channel: string, from: number, to: number): void {
    const { rows, head } = this.#table(channel);
    for (let seq = from; seq <= Math.min(to, head - 1); seq += 1) rows.delete(seq);
  }

  /** A standby takes over that lacks the rows after `head`. */
  failOver(channel: string, head: number): void {
    const table = this.#table(channel);
    for (const seq of table.rows.keys()) if (seq > head) table.rows.delete(seq);
    this.#tables.set(channel, { ...table, head, read: Math.min(table.read, head) });
  }

  /** The numbering is lost: `rows` rows of a new one. */
  renumber(channel: string, rows: number): void {
    const table = this.#table(channel);
    const epoch = `e${Number(table.epoch.slice(1)) + 1}`;
    this.#tables.set(channel, { ...table, epoch, floor: 1, head: 0, read: 0, rows: new Map() });
    this.write(channel, rows);
  }

  has(channel: string, seq: number): boolean {
    return this.#table(channel).rows.has(seq);
  }

  /** Whether there is a row to read after `after`. One that was pruned before the tail came by is nobody's loss. */
  unread(channel: string, after: number): boolean {
    return [...this.#table(channel).rows.keys()].some((seq) => seq > after);
  }

  /** The state as the tail's connection sees it now. */
  state(channel: string): ChannelState | null {
    const table = this.#tables.get(channel);
    if (table === undefined) return null;
    const [first = 1] = table.rows.keys();
    return { epoch: table.epoch, floor: Math.max(table.floor, first), head: table.head };
  }

  /** Whether the tail, when it reads, finds another numbering than when it last did. It tells that once. */
  renumbered(channel: string): boolean {
    const table = this.#tables.get(channel);
    if (table === undefined || table.found === table.epoch) return false;
    table.found = table.epoch;
    return true;
  }

  /** One read of the tail: what is new in a channel; at most the first `carry` rows come along. */
  movement(channel: string, carry = Number.POSITIVE_INFINITY): Movement | null {
    const table = this.#tables.get(channel);
    if (table === undefined) return null;
    const fresh = [...table.rows.values()].filter(({ seq }) => seq > table.read);
    table.read = table.head;
    const last = fresh.at(-1);
    if (last === undefined) return null;
    const gap = fresh.findIndex(({ seq }, index) => seq !== (fresh[0]?.seq ?? 0) + index);
    const rows = fresh.slice(0, Math.min(carry, gap === -1 ? fresh.length : gap));
    return { channel, epoch: table.epoch, head: last.seq, rows: asTexts(rows) };
  }

  open(channel: string): Promise<ChannelState | null> {
    this.opened += 1;
    this.followed.add(channel);
    return new Promise((resolve, reject) => {
      this.opens.push({ channel, resolve, reject });
      if (this.prompt) this.answerOpen();
    });
  }

  leave(channel: string): void {
    this.followed.delete(channel);
  }

  page(channel: string, after: number, upTo: number): Promise<RunOfRows> {
    this.asked.push(`${after}..${upTo}`);
    return new Promise((resolve, reject) => {
      this.pages.push({ channel, after, upTo, resolve, reject, seen: null });
      if (this.prompt) this.answerPage();
    });
  }

  answerOpen(works = true): void {
    const question = this.opens.shift();
    if (question === undefined) return;
    if (!works) return question.reject(new Unavailable('the fake log is away'));
    question.resolve(this.state(question.channel));
  }

  /** The statement of a page that is on its way takes its snapshot. */
  look(index: number): void {
    const question = this.pages[index % this.pages.length];
    if (question !== undefined) question.seen ??= this.#runFor(question);
  }

  answerPage(index = 0, works = true): void {
    const [question] = this.pages.splice(index % Math.max(1, this.pages.length), 1);
    if (question === undefined) return;
    if (!works) return question.reject(new Unavailable('the fake log is away'));
    question.resolve(question.seen ?? this.#runFor(question));
  }

  #runFor({ channel, after, upTo }: PageQuestion): RunOfRows {
    const rows: StoredRow[] = [];
    let bytes = 0;
    const table = this.#tables.get(channel);
    for (const row of table?.rows.values() ?? []) {
      if (row.seq <= after) continue;
      const follows = rows.length === 0 || row.seq === (rows.at(-1)?.seq ?? 0) + 1;
      if (row.seq > upTo || !follows || bytes >= this.limits.bytes || rows.length >= this.limits.rows) break;
      rows.push(row);
      bytes += row.json.length;
    }
    return { epoch: rows.length === 0 ? '' : (table?.epoch ?? ''), rows: asTexts(rows) };
  }

  #table(channel: string): Table {
    const table = this.#tables.get(channel);
    if (table === undefined) throw new Error(`the fake log has no ${channel}`);
    return table;
  }
}
