import { beforeEach, describe, expect, test } from '@jest/globals';
import { sseRung } from '../../client/transport/sse.js';
import { CONNECTED, events, fetch, heard, last, open, requests, say, subscribed } from '../support/rung-world.js';

describe('sse', () => {
  const frame = (value: object) => `data: ${JSON.stringify(value)}\n\n`;

  beforeEach(() => open(sseRung('wss://gateway', fetch)));

  test('reads frames as they come, and counts comments only after the first of them', async () => {
    expect(last().url).toBe('https://gateway/v1/sse');
    await last().write(':   \nretry: 1000\n\n');
    expect(heard).toEqual([]);
    const text = frame({ ...CONNECTED, id: 1 });
    await last().write(text.slice(0, 30));
    await last().write(`${text.slice(30)}:\n\n`);
    expect(heard).toEqual(['connected', '.']);
  });

  test('asks for the stream anew when there is something to say, and goes on where it stands', async () => {
    await last().write(frame({ ...CONNECTED, id: 1 }));
    await say({ type: 'subscribe', id: 2, channel: 'a:1', since: '3' });
    await last().write(frame({ ...CONNECTED, id: 1 }) + frame(subscribed(2)) + frame(events(4, 2)));
    await say({ type: 'ping', id: 3 });
    expect(requests.map(({ said, signal }) => `${said}${signal.aborted ? ' x' : ''}`)).toEqual([
      'connect x',
      'connect, subscribe 3 x',
      'connect, subscribe e.5, ping',
    ]);
    expect(heard).toEqual(['connected', '.', 'subscribed', 'events']);
  });

  test('a stream that ends or breaks is a lost connection; after an error, with its close code', async () => {
    await last().write(frame({ ...CONNECTED, id: 1 }));
    await last().end();
    expect(heard.splice(0)).toEqual(['connected', 'close 1006 the response ended']);
    await open(sseRung('http://gateway', fetch));
    await last().write(
      frame({ ...CONNECTED, id: 1 }) + frame({ type: 'error', code: 'shutting_down', message: 'why' }),
    );
    expect(heard.splice(0)).toEqual(['connected', 'error shutting_down', 'close 4001 why']);
    await open(sseRung('http://gateway', fetch));
    await last().write('data: {"broken\n\n');
    expect(heard).toHaveLength(1);
    expect(heard[0]).toMatch(/^close 1006 .*JSON/);
  });

  test('a pause leaves the stream open, until it is asked for anew with a fresh token', async () => {
    await say({ type: 'subscribe', id: 2, channel: 'a:1', since: '3' });
    await last().write(frame({ ...CONNECTED, id: 1 }) + frame(subscribed(2)) + frame(events(4, 2)));
    await last().write(`${frame({ type: 'paused', code: 'token_expired' })}:\n\n`);
    expect([requests.length, last().signal.aborted]).toEqual([2, false]);
    await say({ type: 'refresh', id: 3, token: 'fresh' });
    expect([last().said, last().commands[0]]).toMatchObject(['connect, subscribe e.5, refresh', { token: 'fresh' }]);
    await last().write(frame({ ...CONNECTED, id: 1 }) + frame(subscribed(2)) + frame({ type: 'refreshed', id: 3 }));
    await last().write(frame(events(6, 1)));
    const after = ['paused token_expired', '.', '.', '.', 'refreshed', 'events'];
    expect(heard.slice(-6)).toEqual(after);
    expect(requests).toHaveLength(3);
  });

  test('without one it ends with the word of the gateway', async () => {
    await last().write(
      frame({ ...CONNECTED, id: 1 }) +
        frame({ type: 'paused', code: 'token_expired' }) +
        frame({ type: 'error', code: 'token_expired', message: 'why' }),
    );
    expect(heard).toEqual(['connected', 'paused token_expired', 'error token_expired', 'close 4004 why']);
  });

  test('what is no stream is no connection', async () => {
    await last().answer('<html>');
    expect(heard).toEqual(['close 1006 HTTP status 200']);
  });
});
