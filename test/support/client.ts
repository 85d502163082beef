import { afterEach } from '@jest/globals';
import { type Client, type ClientOptions, createClient } from '../../client/node.js';

const open = new Set<Client>();

/** A client that ends with its test, also when that fails: one that is left open keeps the whole run from ending. */
export function testClient(options: ClientOptions): Client {
  const client = createClient(options);
  open.add(client);
  return client;
}

afterEach(() => {
  for (const client of open) client.close();
  open.clear();
});
