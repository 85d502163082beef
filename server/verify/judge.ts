import { formatPosition, type Position } from '@rowcast/client/protocol';
import { Contents, type Found, type Tables } from './contents.js';
import { digestOf } from './digest.js';
import { type HistoryLine, parseLine } from './line.js';
import { ReaderRecord } from './reader.js';
import { isClean, sum, type Verdict } from './verdict.js';

/**
 * Compares what clients saw, line by line, with the table. It keeps counts for each client and channel and a bounded
 * number of digests of rows, however long the history is.
 */
export class Judge {
  readonly #contents: Contents;
  readonly #readers = new Map<string, ReaderRecord>();
  readonly #clients = new Set<string>();
  #line = 0;

  /** `tables` rejects when the database fails, and so do `feed` and `finish`. */
  constructor(tables: Tables) {
    this.#contents = new Contents(tables);
  }

  /** The number of the last line that was fed. */
  get lines(): number {
    return this.#line;
  }

  /** The next line is the first one of another file. Clients keep what they had: their names tell them apart. */
  nextFile(): void {
    this.#line = 0;
  }

  /**
   * The next line of a history. Throws `BadHistory`. Where it returns a promise the table is being read: await it
   * before the next line.
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
        reader.heard(line.at);
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

  /** `complete`: every channel was to be read to its head. */
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

  /** The first event that a session could have had which began at the oldest one; later ones have to follow it. */
  async #firstOf({ channel, fromStart, place }: ReaderRecord, position: Position): Promise<number> {
    const first = position.seq + 1;
    if (!fromStart || place !== null) return first;
    const state = await this.#contents.state(channel);
    // Below the floor of today nobody can tell any more where the floor was.
    return state?.epoch === position.epoch ? Math.min(first, state.floor) : first;
  }

  async #subscribed(reader: ReaderRecord, position: Position): Promise<void> {
    reader.goOn(position, await this.#firstOf(reader, position), this.#line);
  }

  #event(reader: ReaderRecord, event: HistoryLine & { type: 'event' }, found: Found): Promise<void> | undefined {
    const { channel, position, row, digest = row && digestOf(row) } = event;
    const { epoch, seq } = position;
    const name = formatPosition(position);
    if (!reader.reading) {
      reader.fault('foreign', `${name} of a channel that was not asked for: ${channel}`, this.#line);
    } else if (found.kind === 'foreign') {
      reader.fault('foreign', `the table has no ${name}`, this.#line);
    } else if (!reader.inEpoch(epoch)) {
      reader.fault('foreign', `${name} is of another epoch, and no reset said so`, this.#line);
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
      // What the table has still was not to be skipped.
      if (state?.epoch === place.epoch) {
        reader.leftOut(Math.max(place.seq + 1, state.floor), position.seq, this.#line);
      }
    }
    reader.reset(position);
  }

  async #end(reader: ReaderRecord, position: Position): Promise<void> {
    reader.end(position, await this.#firstOf(reader, position), this.#line);
  }
}
