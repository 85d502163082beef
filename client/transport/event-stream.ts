export interface EventStreamEvents {
  /** The data of one event, its lines joined. */
  onData(data: string): void;
  onComment(): void;
}

/** A reader of `text/event-stream`, given its bytes as they come. Of the fields it knows `data` alone. */
export function eventStreamReader({ onData, onComment }: EventStreamEvents): (bytes: Uint8Array) => void {
  const decoder = new TextDecoder();
  let rest = '';
  let data: string[] = [];

  const line = (text: string) => {
    if (text === '') {
      if (data.length > 0) onData(data.join('\n'));
      data = [];
    } else if (text.startsWith(':')) onComment();
    else if (text.startsWith('data:')) data.push(text.slice(text[5] === ' ' ? 6 : 5));
  };

  return (bytes) => {
    // A carriage return at the end may be half of a line break, and waits for what follows.
    const text = decoder.decode(bytes, { stream: true });
    // A long line comes in many pieces: what is known to have no end is not searched again.
    if (!/[\r\n]/.test(text) && !rest.endsWith('\r')) {
      rest += text;
      return;
    }
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? '';
    for (const found of lines) line(found);
  };
}
