import { describe, expect, test } from '@jest/globals';
import { type ErrorCode, errors } from '../../client/protocol/index.js';
import { Refusal, Unavailable } from '../../server/ground/refusal.js';
import type { Authenticator, Principal } from '../../server/ports/principal.js';
import { ask, Client, CONNECT_TIMEOUT, meet, REFRESH_TIMEOUT, World } from '../property/clients.js';
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
    ['invalid_channel', new Refusal('invalid_channel', 'write it so')],
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
    await settle(); // the right to read it is looked at first
    world.log.answerOpen(false);
    expect(await answer).toMatchObject([refused('unavailable', 2)]);
    const next = ask(client, { type: 'subscribe', channel: 'message:a' });
    await settle();
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

  /** Who shows `text` is `subject`, for `life` milliseconds from now. */
  const tokens =
    (world: World, texts: Record<string, readonly [subject: string, life: number]>): Authenticator['authenticate'] =>
    async ({ token = '' }) => {
      const [subject, life] = texts[token] ?? [];
      if (subject === undefined || life === undefined) throw new Refusal('unauthorized');
      if (life <= 0) throw new Refusal('token_expired');
      const claims = JSON.stringify({ sub: subject, jti: token });
      return { subject, role: 'authenticated', claims, expiresAt: world.clock.now() + life };
    };
  const subscribed = async (texts: Record<string, readonly [string, number]>) => {
    const world = new World();
    world.create('message:a', 0);
    const client = await new Client(world, { authenticate: tokens(world, texts) }).connect();
    await ask(client, { type: 'subscribe', channel: 'message:a' });
    return { world, client };
  };

  test('I2 I3 I5: at the end of its token a connection pauses, and goes on where it was after a refresh', async () => {
    const { world, client } = await subscribed({ token: ['s', 5_000], fresh: ['s', 9_000] });
    await world.clock.turn(4_999);
    world.write('message:a', 1);
    expect(client.frames()).toMatchObject([{ type: 'events', from: 1 }]);
    await world.clock.turn(1);
    expect(client.frames()).toEqual([{ type: 'paused', code: 'token_expired' }]);
    world.write('message:a', 3);
    expect(await ask(client, { type: 'subscribe', channel: 'message:b' })).toMatchObject([{ code: 'token_expired' }]);
    await world.clock.turn(REFRESH_TIMEOUT - 1);
    expect(client.frames()).toEqual([]);
    expect(await ask(client, { type: 'refresh', token: 'fresh' })).toMatchObject([
      { type: 'refreshed' },
      { type: 'events', from: 2, events: [{ seq: 2 }, { seq: 3 }, { seq: 4 }] },
    ]);
    // The fresh token counts from now on, and no timer of the old one is left.
    await world.clock.turn(8_999);
    expect([client.frames(), client.transport.closed]).toEqual([[], null]);
    await world.clock.turn(1);
    expect(client.frames()).toMatchObject([{ type: 'paused' }]);
    client.connection.gone();
  });

  test('I5 I7: a connection that is not refreshed ends with 4004', async () => {
    const { world, client } = await subscribed({ token: ['s', 5_000] });
    await world.clock.turn(5_000 + REFRESH_TIMEOUT);
    expect(client.transport.closed?.code).toBe(4004);
    world.write('message:a', 1); // would throw: nothing is sent any more
    expect(world.hub.channels.size).toBe(0);
    expect(world.clock.timers).toBe(0);
  });

  test('I5: a refresh before the end puts it off, and nothing is paused', async () => {
    const { world, client } = await subscribed({ token: ['s', 5_000], fresh: ['s', 9_000] });
    await world.clock.turn(4_999);
    expect(await ask(client, { type: 'refresh', token: 'fresh' })).toMatchObject([{ type: 'refreshed' }]);
    await world.clock.turn(8_999);
    world.write('message:a', 1);
    expect(client.frames()).toMatchObject([{ type: 'events' }]);
    client.connection.gone();
  });

  test('I5: the fresh token is asked for the right to each channel; one that is lost ends, the others go on', async () => {
    const { world, client } = await subscribed({ token: ['s', 5_000], fresh: ['s', 9_000] });
    world.create('message:b', 0);
    await ask(client, { type: 'subscribe', channel: 'message:b' });
    await world.clock.turn(5_000);
    world.write('message:a', 1);
    world.write('message:b', 1);
    client.frames();
    world.refuses = ({ principal, channel }) => principal.claims.includes('fresh') && channel === 'message:a';
    expect(await ask(client, { type: 'refresh', token: 'fresh' })).toMatchObject([
      { type: 'unsubscribed', channel: 'message:a', code: 'forbidden' },
      { type: 'refreshed' },
      { type: 'events', channel: 'message:b' },
    ]);
    client.connection.gone();
  });

  test('I5: of two refreshes at once each has its turn: the rights and the life are those of the last', async () => {
    const { world, client } = await subscribed({ token: ['s', 5_000], long: ['s', 90_000], brief: ['s', 6_000] });
    client.say({ type: 'refresh', token: 'long' });
    client.say({ type: 'refresh', token: 'brief' });
    await settle();
    expect(client.frames()).toMatchObject([
      { type: 'refreshed', id: 3 },
      { type: 'refreshed', id: 4 },
    ]);
    await world.clock.turn(6_000);
    expect(client.frames()).toMatchObject([{ type: 'paused' }]);
    client.connection.gone();
  });

  test('I5: a refresh while rights cannot be asked for is refused, and all stays as it was', async () => {
    const { world, client } = await subscribed({ token: ['s', 5_000], fresh: ['s', 9_000] });
    world.refuses = ({ principal }) => {
      if (principal.claims.includes('fresh')) throw new Unavailable('away');
      return false;
    };
    expect(await ask(client, { type: 'refresh', token: 'fresh' })).toMatchObject([{ code: 'unavailable', id: 3 }]);
    world.write('message:a', 1);
    expect(client.frames()).toMatchObject([{ type: 'events' }]);
    await world.clock.turn(5_000);
    expect(client.frames()).toMatchObject([{ type: 'paused' }]);
    world.refuses = () => false;
    expect(await ask(client, { type: 'refresh', token: 'fresh' })).toMatchObject([{ type: 'refreshed' }]);
    client.connection.gone();
  });

  test('I5: a refresh with the token of another principal ends the connection', async () => {
    const { client } = await subscribed({ token: ['ann', 5_000], other: ['bob', 5_000] });
    expect(await ask(client, { type: 'refresh', token: 'token' })).toMatchObject([{ type: 'refreshed' }]);
    expect(await ask(client, { type: 'refresh', token: 'other' })).toMatchObject([{ code: 'unauthorized' }]);
    expect(client.transport.closed?.code).toBe(4501);
  });

  test('I5: a refresh with a token that has expired ends the connection', async () => {
    const { client } = await subscribed({ token: ['s', 5_000], old: ['s', 0] });
    expect(await ask(client, { type: 'refresh', token: 'old' })).toMatchObject([{ code: 'token_expired' }]);
    expect(client.transport.closed?.code).toBe(4004);
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
    admit({ subject: 's', role: 'authenticated', claims: '{}', expiresAt: world.clock.now() + 1_000 });
    await settle();
    expect([client.frames(), world.clock.timers]).toEqual([[], 0]);
  });
});

test('I9: of two channels with much to send, the one that was served comes last in the positions: a client that asks by them is fair', async () => {
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
