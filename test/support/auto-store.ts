import { LiveStore } from '../../client/store/live-store.js';
import type { Platform } from '../../client/store/platform.js';
import { AutoGateway } from './auto-gateway.js';
import { FakeClock } from './fakes.js';

/** Answers a path of the HTTP API of executions; null: there is nothing. */
export type ApiStub = (path: string, init?: RequestInit) => unknown;

/** A store over a gateway that answers by itself, and whose API answers with what `api` returns. */
export function autoStore(api: ApiStub = () => null) {
  const gateway = new AutoGateway();
  const clock = new FakeClock();
  const asked: string[] = [];
  const platform: Platform = {
    clock,
    frame: (task) => clock.after(16, task),
    hidden: () => false,
    connect: (options) => gateway.connect(options),
  };
  const fetch = async (url: unknown, init?: RequestInit) => {
    const { pathname, search, searchParams } = new URL(String(url));
    const path = (pathname + search).replace('/api/agents', '');
    asked.push(path);
    if (pathname === '/v1/poll')
      return new Response(
        JSON.stringify(pageAfter(gateway, searchParams.get('channel') ?? '', searchParams.get('since') ?? '')),
      );
    const body = await api(path, init);
    return body === null ? new Response('{"code":"not_found"}', { status: 404 }) : new Response(JSON.stringify(body));
  };
  const store = new LiveStore({ url: 'http://gateway.test', fetch: fetch as typeof globalThis.fetch }, platform);
  return { store, gateway, clock, asked };
}

function pageAfter(gateway: AutoGateway, channel: string, since: string): unknown {
  const after = Number(since.split('.')[1]);
  const events = gateway.rows(channel).slice(after);
  return { frames: events.length === 0 ? [] : [{ type: 'events', channel, from: after + 1, events }] };
}
