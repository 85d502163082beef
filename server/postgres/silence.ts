import { Socket } from 'node:net';

/**
 * For `stream` of a pg client: sockets that end with an error when nothing was heard for `timeout` milliseconds while
 * an answer is awaited. A connection that is only half open says nothing, and would be trusted for ever. A query that
 * merely takes long must be told so by the server in less than that time, or be cut short by `statement_timeout`; an
 * answer that is on its way may take as long as it likes.
 */
export function endsInSilence(timeout: number, awaits: () => boolean): () => Socket {
  return () => {
    const socket = new Socket();
    socket.setTimeout(timeout);
    socket.on('timeout', () => {
      const { bytesRead, connecting, pending } = socket;
      if (pending && !connecting) return; // a client that was made, and not used yet
      // If it was this process that stood still, what came meanwhile is read before this runs.
      setImmediate(() => {
        if (!awaits() || socket.bytesRead !== bytesRead) return;
        socket.destroy(new Error(`the database was silent for ${timeout} ms`));
      });
    });
    return socket;
  };
}
