/**
 * A gateway in a process of its own that notes when an event passes each hop of the line. The methods of the hops are wrapped, which
 * costs a microsecond each. `hops.ts` starts it, and asks for the times.
 */
import pg from 'pg';
import { Doorbell } from '../../server/doorbell/doorbell.js';
import { Hub } from '../../server/hub/hub.js';
import { Page } from '../../server/hub/page.js';
import { SocketTransport } from '../../server/transport/socket.js';
import { startTestGateway } from '../support/gateway.js';

type Method = (this: unknown, ...given: unknown[]) => unknown;

let times: [hop: string, at: number][] = [];

/** The clock of the machine, which all processes share, in milliseconds. */
const note = (hop: string) => times.push([hop, Number(process.hrtime.bigint()) / 1e6]);

function wrap(
  target: object,
  name: string,
  hops: { before?: string; after?: string },
  only = (_: unknown) => true,
): void {
  const method = Reflect.get(target, name) as Method;
  Reflect.set(target, name, function (this: unknown, ...given: unknown[]) {
    if (!only(given[0])) return method.apply(this, given);
    if (hops.before !== undefined) note(hops.before);
    const result = method.apply(this, given);
    if (hops.after !== undefined) note(hops.after);
    return result;
  });
}

/** The text of the read of the tail. */
const isTail = (text: unknown) => typeof text === 'string' && text.includes('pg_snapshot_xip');
const ofTail = (query: unknown) => isTail(Reflect.get(Object(query), 'text'));

wrap(Doorbell.prototype, 'ring', { before: 'ring' });
wrap(pg.Client.prototype, 'query', { before: 'asked', after: 'sent' }, ofTail);
// The messages of a reply arrive together; the first of them begins it.
for (const [name, hop] of [
  ['handleRowDescription', 'reply'],
  ['handleReadyForQuery', 'parsed'],
] as const) {
  const method = Reflect.get(pg.Query.prototype, name) as Method;
  Reflect.set(pg.Query.prototype, name, function (this: unknown, ...given: unknown[]) {
    if (ofTail(this)) note(hop);
    return method.apply(this, given);
  });
}
wrap(Hub.prototype, 'moved', { before: 'moved' });
wrap(Page.prototype, 'frame', { after: 'framed' });
wrap(SocketTransport.prototype, 'send', { after: 'written' });

const gateway = await startTestGateway(process.argv[2] ?? '');
process.on('message', () => {
  process.send?.(times);
  times = [];
});
process.on('disconnect', () => process.exit());
process.send?.(gateway.url);
