import { expect, test } from '@jest/globals';
import fc from 'fast-check';
import { formatPosition, parsePosition } from '../../client/protocol/index.js';
import { digestOf } from '../../server/verify/digest.js';
import { Judge } from '../../server/verify/judge.js';
import { FAULTS, type FaultKind, type Verdict } from '../../server/verify/verdict.js';
import { FakeLog } from '../support/fake-log.js';
import { runs, seed } from './seed.js';

const parameters = { seed: seed('judge'), numRuns: runs(80) };

const CHANNELS = ['s:a', 's:b'];
const CLIENTS = ['c1', 'c2', 'c3'];

interface Line {
  readonly at: number;
  readonly client: string;
  readonly channel: string;
  readonly type: string;
  readonly position?: string;
  readonly since?: string;
  readonly row?: object;
  readonly digest?: string;
  readonly reason?: string;
}

const channel = fc.constantFrom(...CHANNELS);
const client = fc.constantFrom(...CLIENTS);
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('write' as const), channel, count: fc.nat(1_200) }) },
  { weight: 9, arbitrary: fc.record({ kind: fc.constant('read' as const), client, channel, count: fc.nat(12) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('reconnect' as const), client, channel }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('leave' as const), client, channel }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('prune' as const), channel, rows: fc.nat(10) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('renumber' as const), channel }) },
);
const scenario = fc.record({
  since: fc.array(fc.constantFrom('start', 'now', 'position'), { minLength: 6, maxLength: 6 }),
  content: fc.constantFrom('row', 'digest', 'none'),
  steps: fc.array(step, { minLength: 10, maxLength: 60 }),
});
type Scenario = typeof scenario extends fc.Arbitrary<infer T> ? T : never;

/** What clients record that read a gateway without fault, and the tables after it. */
class Recording {
  readonly log = new FakeLog({ bytes: 500, rows: 40 });
  readonly lines: Line[] = [];
  readonly #content: string;
  readonly #places = new Map<string, string>();
  #at = 1_000;

  constructor({ since, content, steps }: Scenario) {
    this.#content = content;
    for (const channel of CHANNELS) this.log.create(channel, 3);
    const readers = CLIENTS.flatMap((client) => CHANNELS.map((channel) => ({ client, channel })));
    for (const [index, reader] of readers.entries()) this.#begin(reader, since[index] ?? 'now');
    for (const step of steps) {
      if (step.kind === 'write') this.log.write(step.channel, Math.ceil(step.count / 30));
      else if (step.kind === 'prune') this.log.prune(step.channel, this.state(step.channel).floor + step.rows);
      else if (step.kind === 'renumber') this.log.renumber(step.channel, 2);
      else if (step.kind === 'read') this.#read(step, step.count);
      else if (step.kind === 'reconnect') this.#add(step, 'subscribed', { position: this.#place(step) });
      else {
        this.#add(step, 'end', { position: this.#place(step) });
        this.#begin(step, 'position');
      }
    }
    for (const reader of readers) {
      this.#read(reader, Number.POSITIVE_INFINITY);
      this.#add(reader, 'end', { position: this.#place(reader) });
    }
  }

  state(channel: string) {
    const state = this.log.state(channel);
    if (state === null) throw new Error(channel);
    return state;
  }

  #place({ client, channel }: { client: string; channel: string }): string {
    return this.#places.get(client + channel) ?? '';
  }

  #add({ client, channel }: { client: string; channel: string }, type: string, fields: object): void {
    this.#at += 7;
    this.lines.push({ at: this.#at, client, channel, type, ...fields });
  }

  #begin(reader: { client: string; channel: string }, since: string): void {
    const { epoch, floor, head } = this.state(reader.channel);
    const position = this.#place(reader) || formatPosition({ epoch, seq: since === 'start' ? floor - 1 : head });
    this.#places.set(reader.client + reader.channel, position);
    this.#add(reader, 'begin', { since: since === 'position' ? position : since });
    this.#add(reader, 'subscribed', { position });
  }

  #read(reader: { client: string; channel: string }, count: number): void {
    const { epoch, floor, head } = this.state(reader.channel);
    let place = parsePosition(this.#place(reader)) ?? { epoch, seq: 0 };
    const reset = (reason: string, seq: number) => {
      place = { epoch, seq };
      this.#add(reader, 'reset', { reason, position: formatPosition(place) });
    };
    if (place.epoch !== epoch) reset('epoch', head);
    else if (place.seq < floor - 1) reset('pruned', floor - 1);
    const upTo = Math.min(head, place.seq + count);
    while (place.seq < upTo) {
      place = { epoch, seq: place.seq + 1 };
      const row = { seq: place.seq, epoch }; // not in the order of the table
      const content = this.#content === 'row' ? { row } : this.#content === 'digest' ? { digest: digestOf(row) } : {};
      this.#add(reader, 'event', { position: formatPosition(place), ...content });
    }
    this.#places.set(reader.client + reader.channel, formatPosition(place));
  }
}

async function judge(log: FakeLog, lines: readonly Line[], complete = true): Promise<Verdict> {
  const judge = new Judge(log);
  for (const line of lines) await judge.feed(JSON.stringify(line));
  return judge.finish({ complete });
}

function kindsOf({ total }: Verdict): FaultKind[] {
  return FAULTS.filter((kind) => total[kind] > 0);
}

test('a history without fault is clean', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async (scenario) => {
      const { log, lines } = new Recording(scenario);
      const verdict = await judge(log, lines);
      expect(verdict.readers.flatMap(({ faults }) => faults)).toEqual([]);
      expect(verdict.clean).toBe(true);
      expect(verdict.total.events).toBe(lines.filter(({ type }) => type === 'event').length);
      expect(verdict.total.resets).toBe(lines.filter(({ type }) => type === 'reset').length);
      expect(verdict.readers.every(({ ended }) => ended)).toBe(true);
      const bare = lines.filter(({ type }) => type !== 'subscribed');
      expect((await judge(log, bare)).readers.flatMap(({ faults }) => faults)).toEqual([]);
    }),
    parameters,
  );
});

/** Events by the index of their line, with the next line of the same client and channel. */
function eventsOf(lines: readonly Line[]): { index: number; line: Line; next: number }[] {
  return lines.flatMap((line, index) => {
    const same = (other: Line) => other.client === line.client && other.channel === line.channel;
    const next = lines.findIndex((other, at) => at > index && same(other));
    return line.type === 'event' ? [{ index, line, next }] : [];
  });
}

type Mutation = (recording: Recording, pick: number) => { lines: Line[]; kind: FaultKind; count?: number } | null;

function choose<T>(all: readonly T[], pick: number): T | undefined {
  return all[pick % Math.max(1, all.length)];
}

const mutations: Record<string, Mutation> = {
  drop({ lines }, pick) {
    // Before a reset nobody can tell: the row may have been gone when the client came to it.
    const chosen = choose(
      eventsOf(lines).filter(({ next }) => lines[next]?.type !== 'reset'),
      pick,
    );
    if (chosen === undefined) return null;
    const kind = lines[chosen.next]?.type === 'end' ? 'missing' : 'gaps';
    return { lines: lines.toSpliced(chosen.index, 1), kind, count: 1 };
  },
  duplicate({ lines }, pick) {
    const chosen = choose(eventsOf(lines), pick);
    return chosen ? { lines: lines.toSpliced(chosen.next, 0, chosen.line), kind: 'duplicates', count: 1 } : null;
  },
  swap({ lines }, pick) {
    const chosen = choose(
      eventsOf(lines).filter(({ next }) => lines[next]?.type === 'event'),
      pick,
    );
    const second = lines[chosen?.next ?? 0];
    if (chosen === undefined || second === undefined) return null;
    return { lines: lines.with(chosen.index, second).with(chosen.next, chosen.line), kind: 'reorders', count: 1 };
  },
  alter({ log, lines }, pick) {
    const stored = ({ line: { channel, position = '', row, digest } }: { line: Line }) => {
      const { epoch, seq } = parsePosition(position) ?? { epoch: '', seq: 0 };
      return log.state(channel)?.epoch === epoch && log.has(channel, seq) && (row ?? digest) !== undefined;
    };
    const chosen = choose(eventsOf(lines).filter(stored), pick);
    if (chosen === undefined) return null;
    const row = { ...chosen.line.row, epoch: 'other' };
    const altered = chosen.line.row ? { ...chosen.line, row } : { ...chosen.line, digest: digestOf(row) };
    return { lines: lines.with(chosen.index, altered), kind: 'altered', count: 1 };
  },
  'foreign channel'({ lines }, pick) {
    const chosen = choose(eventsOf(lines), pick);
    if (chosen === undefined) return null;
    const channel = choose(['s:c', 'nowhere', 't:a'], pick) ?? '';
    return { lines: lines.toSpliced(chosen.index, 0, { ...chosen.line, channel }), kind: 'foreign', count: 1 };
  },
  'foreign position'({ log, lines }, pick) {
    const chosen = choose(eventsOf(lines), pick);
    const state = chosen && log.state(chosen.line.channel);
    if (!chosen || !state) return null;
    const position = choose([`zz.${state.head}`, `${state.epoch}.${state.head + 1 + (pick % 7)}`], pick) ?? '';
    return { lines: lines.toSpliced(chosen.index, 0, { ...chosen.line, position }), kind: 'foreign', count: 1 };
  },
  'left already'({ lines }, pick) {
    const chosen = choose(eventsOf(lines), pick);
    return chosen ? { lines: [...lines, chosen.line], kind: 'foreign', count: 1 } : null;
  },
  'a reset that was not due'({ log, lines }, pick) {
    const chosen = choose(
      eventsOf(lines).filter(({ next }) => lines[next]?.type === 'event'),
      pick,
    );
    if (!chosen) return null;
    const { epoch, seq } = parsePosition(chosen.line.position ?? '') ?? { epoch: '', seq: 0 };
    if (log.state(chosen.line.channel)?.epoch !== epoch || !log.has(chosen.line.channel, seq)) return null;
    const { row: _, digest: __, ...line } = chosen.line;
    return { lines: lines.with(chosen.index, { ...line, type: 'reset', reason: 'pruned' }), kind: 'gaps', count: 1 };
  },
  truncate({ log, lines }, pick) {
    const chosen = choose(eventsOf(lines), pick);
    const cut = chosen && lines.slice(0, chosen.index);
    // What is of another numbering by now is not missed but foreign.
    const current = cut?.every(
      ({ channel, position = '' }) => !position || log.state(channel)?.epoch === parsePosition(position)?.epoch,
    );
    return cut && current ? { lines: cut, kind: 'missing' } : null;
  },
};

test.each(Object.entries(mutations))('one change is found, as what it is: %s', async (_, mutate) => {
  await fc.assert(
    fc.asyncProperty(scenario, fc.nat(), async (scenario, pick) => {
      const recording = new Recording(scenario);
      const mutated = mutate(recording, pick);
      // A scenario that has nothing to change is no run.
      fc.pre(mutated !== null);
      const verdict = await judge(recording.log, mutated.lines);
      expect(kindsOf(verdict)).toEqual([mutated.kind]);
      if (mutated.count !== undefined) expect(verdict.total[mutated.kind]).toBe(mutated.count);
      expect(verdict.readers.flatMap(({ faults }) => faults).length).toBeGreaterThan(0);
      expect(verdict.clean).toBe(false);
    }),
    { ...parameters, numRuns: runs(20) },
  );
});
