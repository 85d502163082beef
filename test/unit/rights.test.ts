import { beforeEach, expect, test } from '@jest/globals';
import type { Frame } from '../../client/protocol/index.js';
import { Subscriptions } from '../../server/connection/subscriptions.js';
import { Refusal, Unavailable } from '../../server/ground/refusal.js';
import type { EventsFrame } from '../../server/ports/events-frame.js';
import type { Permit, Principal, Rights } from '../../server/ports/principal.js';
import { World } from '../property/clients.js';
import { settle } from '../support/fakes.js';

const principal = (claims: string): Principal => ({ subject: 's', role: 'authenticated', claims, expiresAt: null });

/** The requests of rights, which wait until the test answers them: `<channel> by <claims>`. */
class ManualRights implements Rights {
  readonly asked: { readonly name: string; grant(): void; refuse(error: Error): void }[] = [];
  readonly held = new Set<string>();

  hold({ claims }: Principal, channel: string): Promise<Permit> {
    const name = `${channel} by ${claims}`;
    return new Promise((resolve, reject) => {
      const grant = () => {
        this.held.add(name);
        resolve({ release: () => this.held.delete(name) });
      };
      this.asked.push({ name, grant, refuse: reject });
    });
  }

  /** The request that waits for the longest time. */
  get next() {
    const request = this.asked.shift();
    if (request === undefined) throw new Error('no right is requested');
    return request;
  }
}

let rights: ManualRights;
let subscriptions: Subscriptions;
let sent: string[];

async function subscribe(channel: string): Promise<void> {
  subscriptions.subscribe({ type: 'subscribe', id: 1, channel, since: 'now' }).catch((error: Refusal) => {
    sent.push(`${channel} ${error.code}`);
  });
  await settle();
}

beforeEach(async () => {
  const world = new World();
  for (const channel of ['message:a', 'message:b']) world.create(channel, 1);
  rights = new ManualRights();
  sent = [];
  const transport = {
    writable: true,
    send(frame: Frame | EventsFrame) {
      if ('channel' in frame) sent.push(`${frame.channel} ${frame.type}`);
    },
  };
  subscriptions = new Subscriptions(principal('old'), {
    ...{ transport, hub: world.hub, access: rights, clock: world.clock, maxSubscriptions: 10 },
    ...{ fresh: false, waits: false, times: false },
  });
  await subscribe('message:a');
  rights.next.grant();
  await settle();
  expect(sent.splice(0)).toEqual(['message:a subscribed']);
});

test('I5: a refresh that fails leaves each subscription the right of the principal that stays', async () => {
  const refresh = subscriptions.authorize(principal('fresh'));
  await subscribe('message:b'); // while the right of the new principal is being requested
  const [renewal, opening] = [rights.next, rights.next];
  expect([renewal.name, opening.name]).toEqual(['message:a by fresh', 'message:b by old']);
  opening.grant();
  await settle();
  renewal.refuse(new Unavailable('away'));
  await expect(refresh).rejects.toThrow(Unavailable);
  await settle();
  expect([sent, rights.asked]).toEqual([['message:b subscribed'], []]);
  expect([...rights.held]).toEqual(['message:a by old', 'message:b by old']);
  expect(subscriptions.principal.claims).toBe('old');
});

test.each(['granted before the refresh is over', 'granted after it'])(
  'I5: a refresh that succeeds reaches the subscriptions that are opening: %s',
  async (when) => {
    const refresh = subscriptions.authorize(principal('fresh'));
    await subscribe('message:b');
    const [renewal, opening] = [rights.next, rights.next];
    if (when === 'granted after it') {
      renewal.grant();
      await refresh;
      opening.grant();
    } else {
      opening.grant();
      await settle();
      renewal.grant();
    }
    await settle();
    const again = rights.next;
    expect(again.name).toBe('message:b by fresh');
    again.grant();
    await refresh;
    await settle();
    expect([...rights.held].sort()).toEqual(['message:a by fresh', 'message:b by fresh']);
  },
);

test('I5: a right that the new principal does not have ends its subscription, also one that was opening', async () => {
  const refresh = subscriptions.authorize(principal('fresh'));
  await subscribe('message:b');
  const [renewal, opening] = [rights.next, rights.next];
  opening.grant();
  await settle();
  renewal.grant();
  await settle();
  rights.next.refuse(new Refusal('forbidden'));
  await refresh;
  expect(sent).toEqual(['message:b subscribed', 'message:b unsubscribed']);
  expect([...rights.held]).toEqual(['message:a by fresh']);
});
