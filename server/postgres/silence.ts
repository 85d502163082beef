import { Socket } from 'node:net';

/**
 * Makes sockets for the option `stream` of a pg client. A socket is destroyed if no byte arrives for `timeout` milliseconds
 * while a reply is expected (`awaits`), which detects half-open connections. Long queries therefore need a shorter
 * `statement_timeout`; a reply that is being received may take any time.
 */
export function endsInSilence(timeout: number, awaits: () => boolean): () => Socket {
  return () => {
    const socket = new Socket();
    socket.setTimeout(timeout);
    socket.on('timeout', () => {
      const { bytesRead, connecting, pending } = socket;
      if (pending && !connecting) return; // the client was created but not used yet
      // Deferred: if this process was suspended, bytes that arrived in the meantime are read first.
      setImmediate(() => {
        if (!awaits() || socket.bytesRead !== bytesRead) return;
        socket.destroy(new Error(`the database was silent for ${timeout} ms`));
      });
    });
    return socket;
  };
}
