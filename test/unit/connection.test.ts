import { describe, expect, test } from '@jest/globals';
import { type ErrorCode, errors } from '../../client/protocol/index.js';
import { InvalidChannel, type Principal, Unavailable } from '../../server/ports.js';
import { Refusal } from '../../server/refusal.js';
import { anybody, ask, Client, CONNECT_TIMEOUT, meet, World } from '../property/clients.js';
import { settle } from '../support/fakes.js';

describe('refusals', () => {
  const refused = (code: ErrorCode, id?: unknown) => ({ type: 'error', code, ...(id === undefined ? {} : { id }) });

  test.each(['subscribe', 'unsubscribe', 'refresh'])('not_connected: %s before connect was answered', async (type) => {
    const client = new Client(new World());
    expect(await ask(client, { type, channel: 'message:a', token: 't' })).toMatchObject([refused('not_connected', 1)]);
    expect(await ask(client, { type: 'ping' })).toMatchObject([{ type: 'pong' }]);
  });

  test.each([
    ['invalid_json', 'garbage', undefined],
    ['invalid_json', '', undefined],
    ['invalid_frame', 'null', undefined],
    ['invalid_frame', '[]', undefined],
    ['invalid_frame', '{"id":9}', undefined],
    ['unknown_type', '{"type":"publish","id":9}', 9],
    ['unknown_type', '{"type":"toString","id":-1}', undefined],
    ['invalid_frame', '{"type":"subscribe","id":9}', 9],
    ['invalid_frame', '{"type":"subscribe","id":9,"channel":""}', 9],
    ['invalid_frame', '{"type":"subscribe","id":9,"channel":"message:a","since":"later"}', 9],
    ['invalid_frame', '{"type":"subscribe","id":9,"channel":"message:a","since":41}', 9],
    ['invalid_frame', '{"type":"subscribe","channel":"message:a"}', undefined],
    ['invalid_frame', '{"type":"ping","id":1.5}', undefined],
    ['unknown_channel', '{"type":"subscribe","id":9,"channel":"message:b"}', 9],
    ['not_subscribed', '{"type":"unsubscribe","id":9,"channel":"message:b"}', 9],
    ['already_connected', '{"type":"connect","id":9,"protocol":1}', 9],
  ] as const)('%s: %s', async (code, text, id) => {
    const { world, client } = await meet();
    if (id !== undefined) client.asked.set(id, { type: 'raw' });
    await client.connection.receive(text);
    const answer = client.frames();
    expect(answer).toEqual([{ ...refused(code, id), message: expect.any(String) }]);
    expect(world.hub.channels.size).toBe(0);
    expect(client.connection.subscriptions).toBe(0);
  });

  test('already_subscribed, and the subscription stays', async () => {
    const { world, client } = await meet();
    await ask(client, { type: 'subscribe', channel: 'message:a' });
    expect(await ask(client, { type: 'subscribe', channel: 'message:a', since: 'start' })).toMatchObject([
      refused('already_subscribed'),
    ]);
    world.write('message:a', 1);
    expect(client.frames()).toMatchObject([{ type: 'events', from: 11 }]);
  });

  test('too_many_subscriptions', async () => {
    const { world, client } = await meet({ maxSubscriptions: 1 });
    world.create('message:b', 0);
    await ask(client, { type: 'subscribe', channel: 'message:a' });
    expect(await ask(client, { type: 'subscribe', channel: 'message:b' })).toMatchObject([
      refused('too_many_subscriptions'),
    ]);
    await ask(client, { type: 'unsubscribe', channel: 'message:a' });
    expect(await ask(client, { type: 'subscribe', channel: 'message:b' })).toMatchObject([{ type: 'subscribed' }]);
  });

  test('frame_too_large: the frame is not read, and its connection goes on', async () => {
    const { client } = await meet();
    client.connection.tooLarge();
    expect(client.frames()).toMatchObject([
      { type: 'error', code: 'frame_too_large', message: expect.stringMatching(/1000/) },
    ]);
    expect(await ask(client, { type: 'ping' })).toMatchObject([{ type: 'pong' }]);
  });

  test.each([
    ['invalid_channel', new InvalidChannel('write it so')],
    ['internal', new Error('SELECT secret')],
  ] as const)('%s: what the log says about a name', async (code, error) => {
    const { world, client } = await meet();
    world.log.open = () => Promise.reject(error);
    const [frame] = await ask(client, { type: 'subscribe', channel: 'message:a' });
    expect(frame).toMatchObject({ code, message: code === 'internal' ? errors.internal.meaning : 'write it so' });
    expect(client.transport.closed?.code).toBe(code === 'internal' ? 4000 : undefined);
    expect(world.hub.channels.size).toBe(0);
  });

  test('unavailable: the same command works when the table is back', async () => {
    const world = new World({ prompt: false });
    world.create('message:a', 0);
    const client = await new Client(world).connect();
    const answer = ask(client, { type: 'subscribe', channel: 'message:a' });
    world.log.answerOpen(false);
    expect(await answer).toMatchObject([refused('unavailable', 2)]);
    const next = ask(client, { type: 'subscribe', channel: 'message:a' });
    world.log.answerOpen();
    expect(await next).toMatchObject([{ type: 'subscribed' }]);
  });

  test('the hundredth fault of a client ends its connection with 4502', async () => {
    const { client } = await meet();
    for (let fault = 1; fault <= 100; fault += 1) {
      expect(client.transport.closed).toBeNull();
      await client.connection.receive('garbage');
    }
    expect(client.transport.closed?.code).toBe(4502);
    await client.connection.receive('{"type":"ping","id":9}'); // would throw: nothing is sent any more
  });

  test('an unavailable table is no fault of the client, however often it asks', async () => {
    const { world, client } = await meet();
    world.log.open = () => Promise.reject(new Unavailable('away'));
    for (let attempt = 0; attempt < 200; attempt += 1) {
      expect(await ask(client, { type: 'subscribe', channel: 'message:a' })).toMatchObject([refused('unavailable')]);
    }
    expect(client.transport.closed).toBeNull();
  });
});

describe('admission', () => {
  test('unsupported_protocol ends the connection with 4500', async () => {
    const client = new Client(new World());
    expect(await ask(client, { type: 'connect', protocol: 2 })).toMatchObject([
      { type: 'error', code: 'unsupported_protocol' },
    ]);
    expect(client.transport.closed).toEqual({ code: 4500, reason: 'this gateway speaks protocol 1' });
    expect(client.world.clock.timers).toBe(0);
  });

  test('I5: a token that is refused ends the connection with 4501, and what comes behind it is not answered', async () => {
    const refuse = () => Promise.reject(new Refusal('unauthorized'));
    const client = new Client(new World(), { authenticate: refuse });
    client.say({ type: 'connect', protocol: 1, token: 'forged' });
    expect(await ask(client, { type: 'subscribe', channel: 'message:a' })).toMatchObject([
      { code: 'not_connected', id: 2 },
      { code: 'unauthorized', id: 1 },
    ]);
    expect(client.transport.closed?.code).toBe(4501);
    await client.connection.receive('{"type":"ping","id":3}');
    expect([client.frames(), client.world.clock.timers]).toEqual([[], 0]);
  });

  test('connect_timeout: 4002 for a client that does not introduce itself, none for one that did', async () => {
    const world = new World();
    const silentClient = new Client(world);
    const other = await new Client(world).connect();
    await ask(silentClient, { type: 'ping' });
    await world.clock.turn(CONNECT_TIMEOUT - 1);
    expect(silentClient.transport.closed).toBeNull();
    await world.clock.turn(1);
    expect(silentClient.transport.closed).toEqual({ code: 4002, reason: errors.connect_timeout.meaning });
    expect([other.transport.closed, world.clock.timers]).toEqual([null, 0]);
  });

  test('I5: 4004 when the token expires, and no event after that; a refresh puts it off', async () => {
    const world = new World();
    world.create('message:a', 0);
    const start = world.clock.now();
    const authenticate = async (token?: string) => ({
      subject: 's',
      expiresAt: start + (token === 'fresh' ? 9_000 : 5_000),
    });
    const client = await new Client(world, { authenticate }).connect();
    await ask(client, { type: 'subscribe', channel: 'message:a' });

    await world.clock.turn(4_999);
    expect(await ask(client, { type: 'refresh', token: 'fresh' })).toMatchObject([{ type: 'refreshed' }]);
    await world.clock.turn(4_000);
    world.write('message:a', 1);
    expect(client.frames()).toHaveLength(1);
    expect(client.transport.closed).toBeNull();
    await world.clock.turn(1);
    expect(client.transport.closed?.code).toBe(4004);
    world.write('message:a', 1); // would throw: nothing is sent any more
    expect([world.hub.channels.size, world.clock.timers]).toEqual([0, 0]);
  });

  test('I5: a refresh with the token of another principal ends the connection', async () => {
    const client = await new Client(new World(), {
      authenticate: async (token) => ({ subject: token === 'token' ? 'ann' : 'bob', expiresAt: null }),
    }).connect();
    expect(await ask(client, { type: 'refresh', token: 'token' })).toMatchObject([{ type: 'refreshed' }]);
    expect(await ask(client, { type: 'refresh', token: 'other' })).toMatchObject([{ code: 'unauthorized' }]);
    expect(client.transport.closed?.code).toBe(4501);
  });

  test('I5: a token that has expired on arrival, and a refresh with one that is refused, end the connection', async () => {
    const world = new World();
    const expired = new Client(world, { authenticate: async () => ({ subject: 's', expiresAt: world.clock.now() }) });
    expect(await ask(expired, { type: 'connect', protocol: 1 })).toEqual([]);
    expect(expired.transport.closed?.code).toBe(4004);

    const revoked = new Client(world, {
      authenticate: (token) => (token === 'token' ? anybody() : Promise.reject(new Refusal('token_expired'))),
    });
    await revoked.connect();
    expect(await ask(revoked, { type: 'refresh', token: 'old' })).toMatchObject([{ code: 'token_expired' }]);
    expect(revoked.transport.closed?.code).toBe(4004);
  });

  test('I7: a client that left while it was admitted leaves nothing', async () => {
    const world = new World();
    let admit: (principal: Principal) => void = () => {};
    const client = new Client(world, {
      authenticate: () =>
        new Promise((resolve) => {
          admit = resolve;
        }),
    });
    client.say({ type: 'connect', protocol: 1 });
    client.connection.gone();
    admit({ subject: 's', expiresAt: world.clock.now() + 1_000 });
    await settle();
    expect([client.frames(), world.clock.timers]).toEqual([[], 0]);
  });
});

test('I9: of two channels with much to send, the one that was served comes last in the positions: whoever asks by them is fair', async () => {
  const world = new World();
  world.create('message:a', 40);
  world.create('message:b', 1);
  const client = await new Client(world, { bufferBytes: 10 }).connect();
  client.say({ type: 'subscribe', channel: 'message:a', since: 'start' });
  await settle();
  client.say({ type: 'subscribe', channel: 'message:b', since: 'start' });
  await settle();
  expect(client.connection.positions().map(([channel]) => channel)).toEqual(['message:a', 'message:b']);
  client.transport.drain();
  await settle();
  expect(client.connection.positions().map(([channel]) => channel)).toEqual(['message:b', 'message:a']);
  client.connection.gone();
});
