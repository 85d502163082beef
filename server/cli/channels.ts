import { z } from 'zod';
import type { Config } from '../settings/config.js';
import { print, table } from './output.js';

const answer = z.object({
  channels: z.array(z.object({ channel: z.string(), head: z.number(), subscribers: z.number() })),
});
const refusal = z.object({ error: z.object({ message: z.string() }) });

/** `rowcast channels`: lists the channels of a gateway with their heads and subscribers. */
export async function listChannels({ url, json }: { url: string; json: boolean }, { token }: Config): Promise<void> {
  const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
  const address = `${url.replace(/^ws/, 'http').replace(/\/$/, '')}/v1/channels`;
  const response = await fetch(address, { headers }).catch((error: Error) => {
    throw new Error(`no gateway responds at ${url}: is \`rowcast up\` running?`, { cause: error });
  });
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) {
    throw new Error(refusal.safeParse(body).data?.error.message ?? `the gateway returned status ${response.status}`);
  }
  const { channels } = answer.parse(body);
  if (json) return print(JSON.stringify(channels));
  const rows = channels.map(({ channel, head, subscribers }) => [channel, `${head}`, `${subscribers}`]);
  print(...table([['CHANNEL', 'HEAD', 'SUBSCRIBERS'], ...rows]));
}
