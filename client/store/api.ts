import { jsonOf } from '../client.js';
import { RowcastError } from '../ground/error.js';
import type { Fetch } from '../ground/platform.js';
import { type ConnectionOptions, fetchOf, tokenOf } from '../session/open.js';
import { gatewayUrl } from '../transport/http.js';

export interface ApiOptions extends Pick<ConnectionOptions, 'url' | 'token' | 'fetch' | 'numbers'> {
  /** The HTTP API of executions: by default `url` with `/api/agents`. */
  readonly api?: string | undefined;
}

/** Requests to the gateway over HTTP. */
export class Api {
  readonly #url: string;
  readonly #api: string;
  readonly #token: () => Promise<string | undefined>;
  readonly #fetch: Fetch | undefined;
  readonly #numbers: ConnectionOptions['numbers'];

  constructor(options: ApiOptions) {
    const { url, api = gatewayUrl(url, 'http', '/api/agents') } = options;
    this.#url = url;
    this.#api = api;
    this.#token = tokenOf(options);
    this.#fetch = fetchOf(options);
    this.#numbers = options.numbers;
  }

  /** A path of the API of executions. */
  get(path: string, signal?: AbortSignal): Promise<unknown> {
    return this.#ask(this.#api + path, signal && { signal });
  }

  patch(path: string, body: unknown): Promise<unknown> {
    const headers = { 'Content-Type': 'application/json' };
    return this.#ask(this.#api + path, { method: 'PATCH', body: JSON.stringify(body), headers });
  }

  /** The events of a channel after a position, as many as fit into one response. Full responses stay in the browser's cache. */
  async poll(channel: string, since: string, signal: AbortSignal): Promise<unknown> {
    const query = new URLSearchParams({ channel, since, wait: '0' });
    return this.#ask(`${gatewayUrl(this.#url, 'http', '/v1/poll')}?${query}`, { signal, cache: 'default' });
  }

  /** A page of the present rows of a channel, after the row with this identity. */
  rows(stream: string, key: string, after: string | null): Promise<unknown> {
    const path = `/v1/rows/${encodeURIComponent(stream)}/${encodeURIComponent(key)}`;
    const query = after === null ? '' : `?${new URLSearchParams({ after })}`;
    return this.#ask(gatewayUrl(this.#url, 'http', path) + query);
  }

  /** Rejects with `RowcastError`; `unavailable` where no gateway has answered. */
  async #ask(url: string, init: RequestInit = {}): Promise<unknown> {
    if (this.#fetch === undefined) throw new RowcastError('unavailable', 'no fetch');
    const json = await jsonOf({ numbers: this.#numbers }); // rows are read as those of the connection
    const token = await this.#token();
    const headers = { ...init.headers, ...(token === undefined ? {} : { Authorization: `Bearer ${token}` }) };
    let response: Response;
    let body: unknown;
    try {
      response = (await this.#fetch(url, { cache: 'no-cache', ...init, headers })) as Response;
      body = json.parse(await response.text());
    } catch (reason) {
      throw new RowcastError('unavailable', String(reason));
    }
    if (response.ok) return body;
    const { status } = response;
    throw refusalOf(body, status);
  }
}

/** The API answers with a problem (RFC 9457), a poll with `{"error":{…}}`. */
function refusalOf(body: unknown, status: number): RowcastError {
  const { error = body } = Object(body) as { error?: unknown };
  const { code, message, detail = message } = Object(error) as Record<string, unknown>;
  const retries = status >= 500 || status === 429;
  if (typeof code !== 'string') return new RowcastError('unavailable', `HTTP ${status}`, retries);
  return new RowcastError(code, typeof detail === 'string' ? detail : undefined, retries);
}
