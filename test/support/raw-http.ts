import { connect } from 'node:net';

/** Sends bytes as they are, and gives what comes back until the other side closes; or resets at once. */
export function talk(url: string, bytes: string, reset = false): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    let answer = '';
    socket.on('data', (data) => {
      answer += data;
    });
    socket.on('error', () => {});
    socket.on('close', () => resolve(answer));
    socket.write(bytes, () => reset && socket.resetAndDestroy());
  });
}
