/**
 * What an attached table holds, computed without PostgreSQL: the committed channels, and those that a transaction has written
 * or locked, which no other may write until it ends. A savepoint is a copy of the latter.
 */

export interface Channel {
  /** The id of each event, by its seq. */
  readonly rows: Map<number, number>;
  floor: number;
  /** Changes with every commit that wrote the channel. */
  version: number;
  /** Changes with those after which an older snapshot cannot number: another last number, or an updated row of the channel. */
  numbering: number;
}

export type Isolation = 'READ COMMITTED' | 'REPEATABLE READ' | 'SERIALIZABLE';

/** What other triggers of the table do with a row, by its body. */
export const BODIES = ['plain', 'plain', 'plain', 'plain', 'dropped', 'moved', 'late'] as const;

/** The channel that a trigger moves rows to. */
const MOVED_TO = 'm';

export interface NewRow {
  readonly key: string;
  readonly id: number;
  readonly body: (typeof BODIES)[number];
}

/** The key that a row has when it is numbered; null if a trigger drops it before. */
export function keyOf({ key, body }: NewRow): string | null {
  if (body === 'dropped') return null;
  return body === 'moved' ? MOVED_TO : key;
}

const NONE: Channel = { rows: new Map(), floor: 1, version: 0, numbering: 0 };

const copy = (channel: Channel): Channel => ({ ...channel, rows: new Map(channel.rows) });
const copyAll = (channels: ReadonlyMap<string, Channel>) => new Map([...channels].map(([key, c]) => [key, copy(c)]));
const lastOf = ({ rows }: Channel) => Math.max(0, ...rows.keys());

export class Model {
  committed = new Map<string, Channel>();

  begin(isolation: Isolation): Transaction {
    return new Transaction(this, isolation, copyAll(this.committed));
  }
}

interface State {
  readonly own: Map<string, Channel>;
  readonly truncated: boolean;
}

export class Transaction {
  readonly isolation: Isolation;
  readonly savepoints: State[] = [];
  readonly #model: Model;
  readonly #snapshot: ReadonlyMap<string, Channel>;
  #own = new Map<string, Channel>();
  /** Channels of which it has updated an event, which takes no lock of the channel. */
  readonly #updated = new Set<string>();
  #truncated = false;
  /** Has the table for itself, until it ends. */
  exclusive = false;

  constructor(model: Model, isolation: Isolation, snapshot: ReadonlyMap<string, Channel>) {
    this.#model = model;
    this.isolation = isolation;
    this.#snapshot = snapshot;
  }

  get #base(): ReadonlyMap<string, Channel> {
    if (this.#truncated) return new Map();
    return this.isolation === 'READ COMMITTED' ? this.#model.committed : this.#snapshot;
  }

  /** The channels as this transaction sees them. */
  view(): ReadonlyMap<string, Channel> {
    return new Map([...this.#base, ...this.#own]);
  }

  holds(key: string): boolean {
    return this.#own.has(key);
  }

  /** Whether another transaction that writes this channel may have to wait. */
  mayBlock(key: string): boolean {
    return this.holds(key) || this.#updated.has(key);
  }

  /** Whether the snapshot is too old to write this channel, or too old for this model to say. */
  outdated(key: string): 'no' | 'fails' | 'unknown' {
    if (this.isolation === 'READ COMMITTED' || this.#truncated || this.holds(key)) return 'no';
    const [seen, now] = [this.#snapshot.get(key) ?? NONE, this.#model.committed.get(key) ?? NONE];
    if (seen.version === now.version) return 'no';
    return seen.numbering === now.numbering ? 'unknown' : 'fails';
  }

  savepoint(): void {
    this.savepoints.push({ own: copyAll(this.#own), truncated: this.#truncated });
  }

  rollbackTo(): void {
    const state = this.savepoints.at(-1);
    if (state === undefined) throw new Error('no savepoint');
    this.#own = copyAll(state.own);
    this.#truncated = state.truncated;
  }

  release(): void {
    this.savepoints.pop();
  }

  #lock(key: string): Channel {
    const channel = this.#own.get(key) ?? copy(this.#base.get(key) ?? NONE);
    this.#own.set(key, channel);
    return channel;
  }

  /** False if the statement fails: an id is there already, and it does not say ON CONFLICT. */
  insert(rows: readonly NewRow[], onConflict: 'fail' | 'skip' | 'update' | 'merge'): boolean {
    const keyOfId = new Map(
      [...this.view()].flatMap(([key, channel]) => [...channel.rows.values()].map((id): [number, string] => [id, key])),
    );
    for (const row of rows) {
      const present = keyOfId.get(row.id);
      // MERGE looks before it inserts: no trigger runs.
      if (present !== undefined && onConflict === 'merge') {
        this.#updated.add(present);
        continue;
      }
      const key = keyOf(row);
      if (key === null) continue;
      const channel = this.#lock(key);
      if (row.body === 'late') continue;
      if (present === undefined) {
        channel.rows.set(Math.max(lastOf(channel), channel.floor - 1) + 1, row.id);
        keyOfId.set(row.id, key);
      } else if (onConflict === 'fail') return false;
      else if (onConflict === 'update') this.#updated.add(present);
    }
    return true;
  }

  remove(key: string, seqs: readonly number[]): void {
    const channel = this.#lock(key);
    for (const seq of seqs) channel.rows.delete(seq);
    channel.floor = Math.max(channel.floor, Math.max(...seqs) + 1);
  }

  truncate(): void {
    this.exclusive = true;
    this.#truncated = true;
    this.#own.clear();
  }

  commit(): void {
    const { committed } = this.#model;
    if (this.#truncated) committed.clear();
    for (const key of this.#updated) {
      const channel = committed.get(key);
      if (channel !== undefined && !this.#own.has(key))
        committed.set(key, { ...channel, version: channel.version + 1 });
    }
    for (const [key, channel] of this.#own) {
      const before = committed.get(key);
      const same = before !== undefined && lastOf(before) === lastOf(channel) && before.floor === channel.floor;
      const numbering = channel.numbering + (same && this.isolation === 'READ COMMITTED' ? 0 : 1);
      committed.set(key, { ...copy(channel), version: channel.version + 1, numbering });
    }
  }
}
