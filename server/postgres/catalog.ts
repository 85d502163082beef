import { isDeepStrictEqual } from 'node:util';
import type pg from 'pg';
import { z } from 'zod';
import { checkKey, STREAMS, type Stream, splitChannel, streamRow } from './streams.js';

/** In milliseconds: a column that was added to a table is in its events after this time at the latest. */
const MAX_AGE = 10_000;

const REVISION = { name: 'revision', text: 'SELECT revision FROM rowcast.catalog' };

/** Runs a query on the connection of the tail, in turn. */
type Ask = <T>(query: { name: string; text: string }, values: unknown[], row: z.ZodType<T>) => Promise<T[]>;

/** The streams as they were when the catalog of the database was read last. */
export class Catalog {
  readonly #ask: Ask;
  readonly #onChanged: () => void;
  #streams: readonly Stream[] = [];
  #byName = new Map<string, Stream>();
  #byId = new Map<number, Stream>();
  #revision: number | null = null;
  #readAt = 0;
  #loading: Promise<void> | null = null;

  /** `onChanged`: a stream came, went, or is numbered anew. */
  constructor(ask: Ask, onChanged: () => void) {
    this.#ask = ask;
    this.#onChanged = onChanged;
  }

  /** Another array whenever anything about a stream has changed. */
  get streams(): readonly Stream[] {
    return this.#streams;
  }

  byId(id: number): Stream | undefined {
    return this.#byId.get(id);
  }

  /** The stream and the key of a channel, null where there is no such stream. Throws `Refusal` (invalid_channel). */
  async find(channel: string): Promise<{ stream: Stream; key: string } | null> {
    const { stream: name, key } = splitChannel(channel);
    if (!this.#byName.has(name)) {
      await this.#loading?.catch(() => {}); // it may have begun before the table was attached
      await this.load();
    } // attached a moment ago, perhaps
    const stream = this.#byName.get(name);
    if (stream === undefined) return null;
    checkKey(stream, key);
    return { stream, key };
  }

  /** Reads it on a connection that nobody else uses yet. */
  prepare(client: pg.Client): Promise<void> {
    return this.#load(async (query, values, row) => {
      return z.array(row).parse((await client.query({ ...query, values })).rows);
    });
  }

  /** A read of the tail has found this revision: reads the catalog again if it is another, or it was long ago. */
  async seen(revision: number): Promise<void> {
    if (revision !== this.#revision || Date.now() - this.#readAt > MAX_AGE) await this.load();
  }

  /** Reads it again: a stream was attached, or a table has other columns or another name than before. */
  load(): Promise<void> {
    this.#loading ??= this.#load(this.#ask).finally(() => {
      this.#loading = null;
    });
    return this.#loading;
  }

  async #load(ask: Ask): Promise<void> {
    const [catalog] = await ask(REVISION, [], z.object({ revision: z.number() }));
    if (catalog === undefined) throw new Error('rowcast.catalog is empty: run `rowcast migrate`');
    // The revision first: what changes between the two is noticed at the next read.
    this.#use(catalog.revision, await ask({ name: 'streams', text: STREAMS }, [], streamRow));
  }

  #use(revision: number, streams: readonly Stream[]): void {
    this.#readAt = Date.now();
    // A table that was dropped without being detached changes no revision.
    const numberings = (of: readonly Stream[]) => of.map(({ id, epoch }) => `${id} ${epoch}`).join();
    const changed =
      this.#revision !== null && (this.#revision !== revision || numberings(streams) !== numberings(this.#streams));
    this.#revision = revision;
    if (changed) queueMicrotask(() => this.#onChanged());
    if (isDeepStrictEqual(streams, this.#streams)) return; // so that statements stay prepared
    this.#streams = streams;
    this.#byName = new Map(streams.map((stream) => [stream.name, stream]));
    this.#byId = new Map(streams.map((stream) => [stream.id, stream]));
  }
}
