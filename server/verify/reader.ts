import { formatPosition, type Position } from '@rowcast/client/protocol';
import { type Counts, FAULTS_KEPT, type Fault, type FaultKind, noCounts, type ReaderVerdict } from './verdict.js';

/** Runs of left-out events that are remembered, to tell an event that comes late from one that comes twice. */
const HOLES_KEPT = 1_000;

/** Where a reader stands; the epoch is null while only a seq was asked for. */
interface Place {
  readonly epoch: string | null;
  readonly seq: number;
}

/** What one client has seen of one channel so far. It knows nothing of the table. */
export class ReaderRecord {
  readonly client: string;
  readonly channel: string;
  readonly counts: Counts = noCounts();
  /** Its session has begun and not ended. */
  reading = false;
  /** The session asked for the oldest event, and has not stood anywhere yet. */
  fromStart = false;
  place: Place | null = null;
  readonly #faults: Fault[] = [];
  #holes: { readonly from: number; readonly to: number }[] = [];
  /** Events of the epoch of `place`, when that is not the one of today. */
  #past = 0;
  #lastEventAt: number | null = null;
  #ended = false;

  constructor(client: string, channel: string) {
    this.client = client;
    this.channel = channel;
  }

  /** The last argument is the line, here and below; null after the last one. */
  fault(kind: FaultKind, message: string, line: number | null, count = 1): void {
    this.counts[kind] += count;
    if (this.#faults.length < FAULTS_KEPT) this.#faults.push({ kind, line, message });
  }

  begin(since: 'start' | 'now' | number | Position, line: number): void {
    this.counts.sessions += 1;
    this.reading = true;
    this.#ended = false;
    this.#lastEventAt = null;
    this.#holes = [];
    this.fromStart = since === 'start';
    if (typeof since === 'string') return this.#leavePlace(null);
    const asked = typeof since === 'number' ? { epoch: this.place?.epoch ?? null, seq: since } : since;
    if (this.place?.epoch === asked.epoch) this.leftOut(this.place.seq + 1, asked.seq, line);
    this.#leavePlace(asked);
  }

  /** Events from..to will not come. */
  leftOut(from: number, to: number, line: number): void {
    if (from > to) return;
    const what = from === to ? `${from} is` : `${from} to ${to} are`;
    this.fault('gaps', `seq ${what} left out`, line, to - from + 1);
    this.#holes.push({ from, to });
    if (this.#holes.length > HOLES_KEPT) this.#holes.shift();
  }

  /** Is subscribed from `position` on; `first` is the first event that a session without a place could have had. */
  goOn({ epoch, seq }: Position, first: number, line: number): void {
    if (!this.inEpoch(epoch)) return; // a reset follows
    const after = this.place?.seq ?? first - 1;
    this.leftOut(after + 1, seq, line);
    this.place = { epoch, seq: Math.max(after, seq) };
  }

  /** Was told to go on after a position. */
  reset(position: Position): void {
    this.counts.resets += 1;
    if (position.epoch !== this.place?.epoch || position.seq < this.place.seq) this.#holes = [];
    this.#leavePlace(position);
  }

  /** False where the event is of another epoch than the reader. */
  inEpoch(epoch: string): boolean {
    return this.place === null || this.place.epoch === null || this.place.epoch === epoch;
  }

  /** An event of this epoch that the table has, or had. */
  received({ epoch, seq }: Position, past: boolean, line: number): void {
    const after = this.place?.seq ?? seq - 1;
    if (past) this.#past += 1;
    if (seq > after) {
      this.leftOut(after + 1, seq - 1, line);
      this.place = { epoch, seq };
      return;
    }
    const hole = this.#holes.findIndex(({ from, to }) => from <= seq && seq <= to);
    const late = this.#holes[hole];
    if (late === undefined) return this.fault('duplicates', `${formatPosition({ epoch, seq })} comes again`, line);
    const before = { from: late.from, to: seq - 1 };
    const behind = { from: seq + 1, to: late.to };
    this.#holes.splice(hole, 1, ...[before, behind].filter(({ from, to }) => from <= to));
    this.counts.gaps -= 1;
    this.fault('reorders', `${formatPosition({ epoch, seq })} comes after ${after}`, line);
  }

  /** Something of the channel came at this time. */
  heard(at: number): void {
    this.counts.events += 1;
    if (this.#lastEventAt !== null) this.counts.silence = Math.max(this.counts.silence, at - this.#lastEventAt);
    this.#lastEventAt = at;
  }

  /** The session claims to have everything up to `position`; `first` is the first that it could have had. */
  end(position: Position, first: number, line: number): void {
    const { epoch, seq } = position;
    this.#require(seq, this.inEpoch(epoch) ? (this.place?.seq ?? first - 1) : 0, line);
    if (this.inEpoch(epoch)) this.place = { epoch, seq: Math.max(seq, this.place?.seq ?? 0) };
    this.reading = false;
    this.#ended = true;
  }

  /** It was to have everything up to the head. */
  complete({ epoch, floor, head }: { epoch: string; floor: number; head: number }): void {
    this.#require(head, this.inEpoch(epoch) ? (this.place?.seq ?? floor - 1) : 0, null);
  }

  verdict(): ReaderVerdict {
    // Nothing said that the numbering had changed: a table that never had this epoch is as likely.
    if (this.#past > 0) this.fault('foreign', `the table has no epoch ${this.place?.epoch}`, null, this.#past);
    this.#past = 0;
    const { client, channel, counts, place } = this;
    const position = place === null || place.epoch === null ? null : formatPosition({ ...place, epoch: place.epoch });
    // A gap may have been filled later.
    const faults = this.#faults.filter(({ kind }) => counts[kind] > 0);
    return { client, channel, position, ended: this.#ended, ...counts, faults };
  }

  #require(upTo: number, has: number, line: number | null): void {
    if (has >= upTo) return;
    this.fault('missing', `seq ${has + 1} to ${upTo} did not come`, line, upTo - has);
  }

  #leavePlace(next: Place | null): void {
    if (next?.epoch !== this.place?.epoch) {
      this.counts.gone += this.#past;
      this.#past = 0;
    }
    this.place = next;
  }
}
