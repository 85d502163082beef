import { WebSocket } from 'ws';
import { PROTOCOL, parseFrame } from '../../../client/protocol/index.js';
import type { Random } from '../../support/random.js';
import { Frames } from './frames.js';
import type { Memory } from './memory.js';
import type { Reader } from './reader.js';

const LONGEST_WAIT = 1_500;
const CONNECT_TIMEOUT = 5_000;
/** A slow one reads for so long, then stands still for so long; in milliseconds. */
const READS = [50, 800] as const;
const STANDS = [500, 6_000] as const;

/** Speaks the protocol over a bare WebSocket, and keeps its own positions. */
export class RawReader implements Reader {
  readonly #memory: Memory;
  readonly #ports: readonly number[];
  readonly #random: Random;
  readonly #frames: Frames;
  #slow: boolean;
  #socket: WebSocket | null = null;
  #heard = 0;
  #heartbeat = CONNECT_TIMEOUT;
  #closed = false;
  #timers = new Set<NodeJS.Timeout>();

  constructor(memory: Memory, ports: readonly number[], random: Random, slow: boolean) {
    this.#memory = memory;
    this.#ports = ports;
    this.#random = random;
    this.#frames = new Frames(memory);
    this.#slow = slow;
  }

  get connected(): boolean {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  start(): void {
    this.#frames.begin();
    this.#dial();
    this.#after(CONNECT_TIMEOUT / 10, () => this.#look());
    if (this.#slow) this.#read();
  }

  finish(): void {
    this.#slow = false;
    if (this.#socket?.isPaused) this.#socket.resume();
  }

  close(): void {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    this.#socket?.terminate();
  }

  #after(ms: number, work: () => void): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      if (!this.#closed) work();
    }, ms);
    this.#timers.add(timer);
  }

  #dial(): void {
    const socket = new WebSocket(`ws://127.0.0.1:${this.#random.pick(this.#ports)}/v1/ws`, {
      perMessageDeflate: false,
    });
    this.#socket = socket;
    this.#heard = performance.now();
    const said = (text: Record<string, unknown>) => socket.send(JSON.stringify(text));
    socket.on('open', () => said({ type: 'connect', id: 0, protocol: PROTOCOL }));
    socket.on('message', (data) => this.#receive(String(data), said));
    socket.on('ping', () => {
      this.#heard = performance.now();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      if (this.#socket !== socket) return;
      this.#after(this.#random.int(10, LONGEST_WAIT), () => this.#dial());
    });
  }

  /** A socket that says OPEN may be dead; only one that stands still on purpose may be silent. */
  #look(): void {
    const socket = this.#socket;
    const silent = performance.now() - this.#heard > 2 * this.#heartbeat;
    if (socket !== null && silent && !socket.isPaused) socket.terminate();
    this.#after(this.#heartbeat / 2, () => this.#look());
  }

  #receive(text: string, say: (frame: Record<string, unknown>) => void): void {
    this.#heard = performance.now();
    const frame = parseFrame(text);
    if (frame === null) return;
    if (!this.#frames.take(frame)) this.#socket?.terminate();
    if (frame.type !== 'connected') return;
    this.#heartbeat = frame.heartbeat;
    for (const [index, channel] of this.#memory.channels.entries()) {
      say({ type: 'subscribe', id: index + 1, channel, since: this.#frames.since(channel) });
    }
  }

  #read(): void {
    this.#after(this.#random.int(...READS), () => {
      if (!this.#slow) return;
      const socket = this.#socket;
      if (socket?.readyState === WebSocket.OPEN) socket.pause();
      this.#after(this.#random.int(...STANDS), () => {
        this.#heard = performance.now();
        if (socket?.isPaused) socket.resume();
        this.#read();
      });
    });
  }
}
