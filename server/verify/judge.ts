/**
 * Compares recorded histories with the tables, line by line, and returns a verdict with the faults of each reader. Its
 * memory does not grow with the length of a history: it keeps counts for each client and channel, and a bounded cache of
 * digests. `rowcast verify` and the tests feed it.
 */
import { formatPosition, type Position } from '@rowcast/client/protocol';
import { Contents, type Found, type Tables } from './contents.js';
import { digestOf } from './digest.js';
import { type HistoryLine, parseLine } from './line.js';
import { ReaderRecord } from './reader.js';
import { isClean, sum, type Verdict } from './verdict.js';

export class Judge {
  readonly #contents: Contents;
  readonly #readers = new Map<string, ReaderRecord>();
  readonly #clients = new Set<string>();
  #line = 0;

  /** If `tables` rejects because the database failed, `feed` and `finish` reject as well. */
  constructor(tables: Tables) {
    this.#contents = new Contents(tables);
  }

  /** The number of the last line that was fed. */
  get lines(): number {
    return this.#line;
  }

  /** The next line is the first line of another file. Clients keep their state, because a client may appear in several files. */
  nextFile(): void {
    this.#line = 0;
  }

  /**
   * Processes the next line of a history. Throws `BadHistory`. If it returns a promise the table is being read, and the
   * caller must await it before the next line.
   */
  feed(text: string): Promise<void> | undefined {
    this.#line += 1;
    const line = parseLine(text);
    const reader = this.#readerOf(line);
    switch (line.type) {
      case 'begin':
        reader.begin(line.since, this.#line);
        return undefined;
      case 'event': {
        reader.countEvent(line.at);
        const found = this.#contents.find(line.channel, line.position);
        if (found instanceof Promise) return found.then((found) => this.#event(reader, line, found));
        return this.#event(reader, line, found);
      }
      case 'subscribed':
        return this.#subscribed(reader, line.position);
      case 'reset':
        return this.#reset(reader, line.position);
      case 'end':
        return this.#end(reader, line.position);
    }
  }

  /** Returns the verdict. `complete`: every reader should have read its channel up to the head. */
  async finish({ complete = false } = {}): Promise<Verdict> {
    const readers = [];
    for (const reader of this.#readers.values()) {
      const state = complete && reader.counts.sessions > 0 ? await this.#contents.state(reader.channel) : null;
      if (state !== null) reader.complete(state);
      readers.push(reader.verdict());
    }
    const total = sum(readers);
    return { clean: isClean(total), clients: this.#clients.size, total, readers };
  }

  #readerOf({ client, channel }: HistoryLine): ReaderRecord {
    const name = JSON.stringify([client, channel]);
    const known = this.#readers.get(name);
    if (known !== undefined) return known;
    const reader = new ReaderRecord(client, channel);
    this.#readers.set(name, reader);
    this.#clients.add(client);
    return reader;
  }

  /** Returns the seq of the first event that the session could have received. All events after it must follow. */
  async #firstOf({ channel, fromStart, place }: ReaderRecord, position: Position): Promise<number> {
    const first = position.seq + 1;
    if (!fromStart || place !== null) return first;
    const state = await this.#contents.state(channel);
    // The floor may have been lower at the time of the session; only events from today's floor on can be required.
    return state?.epoch === position.epoch ? Math.min(first, state.floor) : first;
  }

  async #subscribed(reader: ReaderRecord, position: Position): Promise<void> {
    reader.continueAt(position, await this.#firstOf(reader, position), this.#line);
  }

  #event(reader: ReaderRecord, event: HistoryLine & { type: 'event' }, found: Found): Promise<void> | undefined {
    const { channel, position, row, digest = row && digestOf(row) } = event;
    const { epoch, seq } = position;
    const name = formatPosition(position);
    if (!reader.reading) {
      reader.fault('foreign', `${name} of a channel that was not subscribed to: ${channel}`, this.#line);
    } else if (found.kind === 'foreign') {
      reader.fault('foreign', `the table has no ${name}`, this.#line);
    } else if (!reader.inEpoch(epoch)) {
      reader.fault('foreign', `${name} is of another epoch, without a reset before it`, this.#line);
    } else {
      if (found.kind === 'gone') reader.counts.gone += 1;
      if (found.kind === 'row' && digest !== undefined && digest !== found.digest) {
        reader.fault('altered', `${name} differs from the table`, this.#line);
      }
      const receive = () => reader.received(position, found.kind === 'past', this.#line);
      if (reader.place === null) return this.#subscribed(reader, { epoch, seq: seq - 1 }).then(receive);
      receive();
    }
    return undefined;
  }

  async #reset(reader: ReaderRecord, position: Position): Promise<void> {
    const { place, channel } = reader;
    if (place?.epoch === position.epoch && place.seq < position.seq) {
      const state = await this.#contents.state(channel);
      // A reset may skip pruned events only. Those that the table still has are gaps.
      if (state?.epoch === place.epoch) {
        reader.skipped(Math.max(place.seq + 1, state.floor), position.seq, this.#line);
      }
    }
    reader.reset(position);
  }

  async #end(reader: ReaderRecord, position: Position): Promise<void> {
    reader.end(position, await this.#firstOf(reader, position), this.#line);
  }
}
