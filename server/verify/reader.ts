/**
 * The record of one client and one channel: the position it has reached, and counts of the faults found so far. It checks
 * the order and completeness of seqs; it does not read the table, which the judge does.
 */
import { formatPosition, type Position } from '@rowcast/client/protocol';
import { type Counts, FAULTS_KEPT, type Fault, type FaultKind, noCounts, type ReaderVerdict } from './verdict.js';

/** Maximum number of gaps that are remembered. They distinguish an event that arrives late from a duplicate. */
const MAX_GAPS = 1_000;

/** The position of a reader. The epoch is null while only the seq of its request is known. */
interface Place {
  readonly epoch: string | null;
  readonly seq: number;
}

export class ReaderRecord {
  readonly client: string;
  readonly channel: string;
  readonly counts: Counts = noCounts();
  /** Whether a session has begun and not ended. */
  reading = false;
  /** Whether the session began at `start`. */
  fromStart = false;
  place: Place | null = null;
  readonly #faults: Fault[] = [];
  #gaps: { readonly from: number; readonly to: number }[] = [];
  /** The number of events received in the epoch of `place`, if that is not the current epoch of the table. */
  #past = 0;
  #lastEventAt: number | null = null;
  #ended = false;

  constructor(client: string, channel: string) {
    this.client = client;
    this.channel = channel;
  }

  /** Records a fault. `line`, here and below, is the line of the history; null after the last one. */
  fault(kind: FaultKind, message: string, line: number | null, count = 1): void {
    this.counts[kind] += count;
    if (this.#faults.length < FAULTS_KEPT) this.#faults.push({ kind, line, message });
  }

  /** A session begins at `since`. */
  begin(since: 'start' | 'now' | number | Position, line: number): void {
    this.counts.sessions += 1;
    this.reading = true;
    this.#ended = false;
    this.#lastEventAt = null;
    this.#gaps = [];
    this.fromStart = since === 'start';
    if (typeof since === 'string') return this.#moveTo(null);
    const start = typeof since === 'number' ? { epoch: this.place?.epoch ?? null, seq: since } : since;
    if (this.place?.epoch === start.epoch) this.skipped(this.place.seq + 1, start.seq, line);
    this.#moveTo(start);
  }

  /** The events from `from` to `to` were not received: a gap. */
  skipped(from: number, to: number, line: number): void {
    if (from > to) return;
    const what = from === to ? `${from} is` : `${from} to ${to} are`;
    this.fault('gaps', `seq ${what} missing`, line, to - from + 1);
    this.#gaps.push({ from, to });
    if (this.#gaps.length > MAX_GAPS) this.#gaps.shift();
  }

  /** The subscription continues after `position`. `first` is the first event that a session without a place could have received. */
  continueAt({ epoch, seq }: Position, first: number, line: number): void {
    if (!this.inEpoch(epoch)) return; // a reset follows
    const after = this.place?.seq ?? first - 1;
    this.skipped(after + 1, seq, line);
    this.place = { epoch, seq: Math.max(after, seq) };
  }

  /** A reset frame makes the reader continue after `position`. */
  reset(position: Position): void {
    this.counts.resets += 1;
    if (position.epoch !== this.place?.epoch || position.seq < this.place.seq) this.#gaps = [];
    this.#moveTo(position);
  }

  /** Whether an event of this epoch may follow. True while the epoch of the reader is not known. */
  inEpoch(epoch: string): boolean {
    return this.place === null || this.place.epoch === null || this.place.epoch === epoch;
  }

  /** An event was received that the table has, or had. `past`: its epoch is not the current one of the table. */
  received({ epoch, seq }: Position, past: boolean, line: number): void {
    const after = this.place?.seq ?? seq - 1;
    if (past) this.#past += 1;
    if (seq > after) {
      this.skipped(after + 1, seq - 1, line);
      this.place = { epoch, seq };
      return;
    }
    const gap = this.#gaps.findIndex(({ from, to }) => from <= seq && seq <= to);
    const late = this.#gaps[gap];
    if (late === undefined) return this.fault('duplicates', `${formatPosition({ epoch, seq })} received again`, line);
    const before = { from: late.from, to: seq - 1 };
    const behind = { from: seq + 1, to: late.to };
    this.#gaps.splice(gap, 1, ...[before, behind].filter(({ from, to }) => from <= to));
    this.counts.gaps -= 1;
    this.fault('reorders', `${formatPosition({ epoch, seq })} received after ${after}`, line);
  }

  /** An event was received at this time, in milliseconds. */
  countEvent(at: number): void {
    this.counts.events += 1;
    if (this.#lastEventAt !== null) this.counts.silence = Math.max(this.counts.silence, at - this.#lastEventAt);
    this.#lastEventAt = at;
  }

  /** The session ends and claims to have everything up to `position`. `first` is the first event that it could have received. */
  end(position: Position, first: number, line: number): void {
    const { epoch, seq } = position;
    this.#require(seq, this.inEpoch(epoch) ? (this.place?.seq ?? first - 1) : 0, line);
    if (this.inEpoch(epoch)) this.place = { epoch, seq: Math.max(seq, this.place?.seq ?? 0) };
    this.reading = false;
    this.#ended = true;
  }

  /** Checks that the reader has everything up to the head. */
  complete({ epoch, floor, head }: { epoch: string; floor: number; head: number }): void {
    this.#require(head, this.inEpoch(epoch) ? (this.place?.seq ?? floor - 1) : 0, null);
  }

  verdict(): ReaderVerdict {
    // No reset reported a new epoch. The table may never have had this one, so the events count as foreign.
    if (this.#past > 0) this.fault('foreign', `the table has no epoch ${this.place?.epoch}`, null, this.#past);
    this.#past = 0;
    const { client, channel, counts, place } = this;
    const position = place === null || place.epoch === null ? null : formatPosition({ ...place, epoch: place.epoch });
    // Gaps that were filled later are no longer faults.
    const faults = this.#faults.filter(({ kind }) => counts[kind] > 0);
    return { client, channel, position, ended: this.#ended, ...counts, faults };
  }

  #require(upTo: number, has: number, line: number | null): void {
    if (has >= upTo) return;
    this.fault('missing', `seq ${has + 1} to ${upTo} not received`, line, upTo - has);
  }

  #moveTo(next: Place | null): void {
    if (next?.epoch !== this.place?.epoch) {
      this.counts.gone += this.#past;
      this.#past = 0;
    }
    this.place = next;
  }
}
