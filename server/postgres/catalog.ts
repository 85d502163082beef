import { isDeepStrictEqual } from 'node:util';
import type pg from 'pg';
import { z } from 'zod';
import { checkKey, STREAMS, type Stream, splitChannel, streamRow } from './streams.js';

/** Maximum age of the catalog, in milliseconds: a column that was added to a table is in its events after this time. */
const MAX_AGE = 10_000;

const REVISION = { name: 'revision', text: 'SELECT revision FROM rowcast.catalog' };

/** Runs a query on the connection of the tail, in turn. */
type Ask = <T>(query: { name: string; text: string }, values: unknown[], row: z.ZodType<T>) => Promise<T[]>;

/** The streams as of the last read of the catalog in the database. */
export class Catalog {
  readonly #ask: Ask;
  readonly #onChanged: () => void;
  #streams: readonly Stream[] = [];
  #byName = new Map<string, Stream>();
  #byId = new Map<number, Stream>();
  #revision: number | null = null;
  #readAt = 0;
  #loading: Promise<void> | null = null;

  /** `onChanged` is called when a stream was attached, detached or renumbered. */
  constructor(ask: Ask, onChanged: () => void) {
    this.#ask = ask;
    this.#onChanged = onChanged;
  }

  /** A new array whenever anything about a stream has changed. */
  get streams(): readonly Stream[] {
    return this.#streams;
  }

  byId(id: number): Stream | undefined {
    return this.#byId.get(id);
  }

  /** Returns the stream and key of a channel, or null if there is no such stream. Rejects with `Refusal` (invalid_channel). */
  async find(channel: string): Promise<{ stream: Stream; key: string } | null> {
    const { stream: name, key } = splitChannel(channel);
    if (!this.#byName.has(name)) {
      // The table may have been attached a moment ago, after a load that is in progress had begun.
      await this.#loading?.catch(() => {});
      await this.load();
    }
    const stream = this.#byName.get(name);
    if (stream === undefined) return null;
    checkKey(stream, key);
    return { stream, key };
  }

  /** Reads the catalog on a connection that is not in use yet. */
  prepare(client: pg.Client): Promise<void> {
    return this.#load(async (query, values, row) => {
      return z.array(row).parse((await client.query({ ...query, values })).rows);
    });
  }

  /** Called with the revision that a read of the tail has found. Reads the catalog again if the revision differs, or the last read is too old. */
  async seen(revision: number): Promise<void> {
    if (revision !== this.#revision || Date.now() - this.#readAt > MAX_AGE) await this.load();
  }

  /** Reads the catalog again, after a change of a stream or its table. Concurrent callers share one read. */
  load(): Promise<void> {
    this.#loading ??= this.#load(this.#ask).finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #load(ask: Ask): Promise<void> {
    const [catalog] = await ask(REVISION, [], z.object({ revision: z.number() }));
    if (catalog === undefined) throw new Error('rowcast.catalog is empty: run `rowcast migrate`');
    // The revision is read first, so that a change between the two statements is noticed at the next read.
    this.#use(catalog.revision, await ask({ name: 'streams', text: STREAMS }, [], streamRow));
  }

  #use(revision: number, streams: readonly Stream[]): void {
    this.#readAt = Date.now();
    // Dropping a table without detaching it does not change the revision.
    const numberings = (of: readonly Stream[]) => of.map(({ id, epoch }) => `${id} ${epoch}`).join();
    const changed =
      this.#revision !== null && (this.#revision !== revision || numberings(streams) !== numberings(this.#streams));
    this.#revision = revision;
    if (changed) queueMicrotask(() => this.#onChanged());
    if (isDeepStrictEqual(streams, this.#streams)) return; // keep the array, so that statements stay prepared
    this.#streams = streams;
    this.#byName = new Map(streams.map((stream) => [stream.name, stream]));
    this.#byId = new Map(streams.map((stream) => [stream.id, stream]));
  }
}
