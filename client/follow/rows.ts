import type { StreamEvent } from '../subscription/subscription.js';

/** An event of a tracked table. `id`: the identity as text; of several columns a JSON array of texts. */
export interface Change<R extends object> {
  readonly key: unknown;
  readonly op: 'insert' | 'update' | 'delete';
  readonly event_type: 'insert' | 'update' | 'delete';
  readonly id: string;
  /** Null after a delete. */
  readonly row: R | null;
  /** What `old` of `rowcast.track` says: the old values of the changed columns, of all, or null. */
  readonly old: Partial<R> | null;
  readonly created_at: string;
}

/** Orders identities: numbers as numbers, and else by code units. */
function byIdentity(a: string, b: string): number {
  const difference = Number(a) - Number(b);
  if (difference !== 0 && !Number.isNaN(difference)) return difference;
  return a < b ? -1 : a > b ? 1 : 0;
}

/** With the option `numbers` a row may hold what JSON does not. */
const textOf = (row: object) => JSON.stringify(row, (_, value) => (typeof value === 'bigint' ? `${value}n` : value));

/** The rows of a channel by their identity, in order, and what has changed since they were last told. */
export class RowMap<R extends object> {
  readonly #order: (a: string, b: string) => number;
  readonly #changed = new Set<string>();
  readonly #removed = new Set<string>();
  #rows = new Map<string, R>();
  #last: string | undefined;
  #sorted = true;

  /** Whether an update may move a row. */
  readonly #resort: boolean;

  constructor(compare: ((a: R, b: R) => number) | undefined) {
    this.#order =
      compare === undefined
        ? byIdentity
        : (a, b) => compare(this.#rows.get(a) as R, this.#rows.get(b) as R) || byIdentity(a, b);
    this.#resort = compare !== undefined;
  }

  set(id: string, row: R): void {
    this.#sorted &&= this.#rows.has(id) ? !this.#resort : !this.#resort && this.#follows(id);
    this.#rows.set(id, row);
    this.#changed.add(id);
    this.#removed.delete(id);
  }

  delete(id: string): void {
    if (!this.#rows.delete(id)) return;
    this.#changed.delete(id);
    this.#removed.add(id);
  }

  apply({ row: { id, op, row } }: StreamEvent<Change<R>>): void {
    if (op === 'delete' || row === null) this.delete(id);
    else this.set(id, row);
  }

  /** The rows in order. The same map until rows had to be moved. */
  get rows(): ReadonlyMap<string, R> {
    if (!this.#sorted) {
      const ids = [...this.#rows.keys()].sort(this.#order);
      this.#rows = new Map(ids.map((id) => [id, this.#rows.get(id) as R]));
      this.#last = ids.at(-1);
      this.#sorted = true;
    }
    return this.#rows;
  }

  /** What has changed since the last call. */
  take(): { changed: string[]; removed: string[] } {
    const taken = { changed: [...this.#changed], removed: [...this.#removed] };
    this.#changed.clear();
    this.#removed.clear();
    return taken;
  }

  /** Finds what a reader has to be told that knows the rows of `before`, as far as it was told of them. */
  since(before: RowMap<R>): void {
    this.take();
    for (const id of before.#changed) if (this.#rows.has(id)) this.#changed.add(id);
    for (const id of before.#removed) if (!this.#rows.has(id)) this.#removed.add(id);
    const { rows } = before;
    for (const [id, row] of this.#rows) {
      const old = rows.get(id);
      if (old === undefined || textOf(old) !== textOf(row)) this.#changed.add(id);
    }
    for (const id of rows.keys()) if (!this.#rows.has(id)) this.#removed.add(id);
  }

  #follows(id: string): boolean {
    if (this.#last !== undefined && byIdentity(this.#last, id) >= 0) return false;
    this.#last = id;
    return true;
  }
}
