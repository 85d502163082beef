import { WebSocket } from 'ws';
import { z } from 'zod';
import type { GatewayProcess } from './process.js';

/** For the environment of a process whose heap is to be looked into. */
export const INSPECTED = { NODE_OPTIONS: '--inspect=127.0.0.1:0' };

const answer = z.object({
  id: z.number(),
  result: z.looseObject({ result: z.object({ value: z.number() }).optional() }),
});

/** The bytes that a process holds, of JavaScript and of buffers, after all garbage was collected. */
export async function heldBytes(gateway: GatewayProcess): Promise<number> {
  const [url] = /ws:\/\/127\.0\.0\.1:\d+\/\S+/.exec(gateway.errors()) ?? [];
  if (url === undefined) throw new Error('the process was not started with INSPECTED');
  const socket = new WebSocket(url);
  const answers = new Map<number, (value: number | undefined) => void>();
  socket.on('message', (data) => {
    const { id, result } = answer.parse(JSON.parse(String(data)));
    answers.get(id)?.(result.result?.value);
  });
  await new Promise((resolve) => socket.on('open', resolve));
  const call = (method: string, params = {}) =>
    new Promise<number | undefined>((resolve) => {
      const id = answers.size + 1;
      answers.set(id, resolve);
      socket.send(JSON.stringify({ id, method, params }));
    });
  await call('HeapProfiler.collectGarbage');
  await call('HeapProfiler.collectGarbage'); // what the first one has set free by finalizers
  const expression = '{ const m = process.memoryUsage(); m.heapUsed + m.external }';
  const held = await call('Runtime.evaluate', { expression, returnByValue: true });
  socket.close();
  if (held === undefined) throw new Error('the process did not say what it holds');
  return held;
}
