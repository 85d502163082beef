const BLANK = '';

/**
 * A `text/event-stream` by the HTML standard, "interpreting an event stream": what no empty line ends is dropped, and a
 * comment is no event.
 */
export class EventStream {
  /** What the next request begins with. It moves with each event, not before. */
  lastEventId: string;
  /** How long to wait before the next request, in milliseconds; null where the stream does not say. */
  retry: number | null = null;
  readonly #onData: (data: string) => void;
  readonly #decoder = new TextDecoder();
  #text = '';
  #data: string[] = [];
  #id: string;

  constructor(lastEventId: string, onData: (data: string) => void) {
    this.lastEventId = lastEventId;
    this.#id = lastEventId;
    this.#onData = onData;
  }

  take(chunk: Uint8Array): void {
    this.#text += this.#decoder.decode(chunk, { stream: true });
    // A CR at the end may be the first half of CRLF.
    const lines = this.#text.split(/\r\n|\n|\r(?!$)/);
    this.#text = lines.pop() ?? BLANK;
    for (const line of lines) this.#line(line);
  }

  #line(line: string): void {
    if (line === BLANK) return this.#dispatch();
    const [, name, value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
    if (name === 'data') this.#data.push(value);
    if (name === 'id' && !value.includes('\0')) this.#id = value;
    if (name === 'retry' && /^\d+$/.test(value)) this.retry = Number(value);
  }

  #dispatch(): void {
    const data = this.#data.splice(0);
    this.lastEventId = this.#id;
    if (data.length > 0) this.#onData(data.join('\n'));
  }
}
