export interface EventStreamEvents {
  /** The data of one event, its lines joined. */
  onData(data: string): void;
  onComment(): void;
}

/** Parses `text/event-stream`, in chunks of any size. Of the fields it reads `data` only. */
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
    const text = decoder.decode(bytes, { stream: true });
    // A long line arrives in many chunks: a part that has no line break is not searched again.
    if (!/[\r\n]/.test(text) && !rest.endsWith('\r')) {
      rest += text;
      return;
    }
    // A carriage return at the end may be the first half of a line break; it waits for the next chunk.
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() ?? '';
    for (const found of lines) line(found);
  };
}
