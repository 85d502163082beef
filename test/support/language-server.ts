import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

interface Position {
  readonly line: number;
  readonly character: number;
}

interface Range {
  readonly start: Position;
  readonly end: Position;
}

interface DocumentSymbol {
  readonly name: string;
  readonly range: Range;
  readonly selectionRange: Range;
  readonly children?: readonly DocumentSymbol[];
}

interface Location {
  readonly uri: string;
  readonly range: Range;
}

/** A method or function, as a reader names it: `Hub.moved` in `server/hub/hub.ts`. */
export interface Place {
  readonly file: string;
  readonly name: string;
}

/** TypeScript's own language server, asked what an editor asks it. Files are named from the root of the project. */
export class LanguageServer {
  readonly #root: string;
  readonly #child: ChildProcess;
  readonly #waiting = new Map<number, (answer: { result?: unknown; error?: { message: string } }) => void>();
  readonly #symbols = new Map<string, Promise<readonly DocumentSymbol[]>>();
  #received = Buffer.alloc(0);
  #lastId = 0;

  private constructor(root: string) {
    this.#root = root;
    const tsc = join(import.meta.dirname, '../../node_modules/typescript/bin/tsc');
    this.#child = spawn(process.execPath, [tsc, '--lsp', '--stdio'], { cwd: root, stdio: ['pipe', 'pipe', 'ignore'] });
    this.#child.stdout?.on('data', (chunk: Buffer) => this.#receive(chunk));
  }

  static async start(root: string): Promise<LanguageServer> {
    const server = new LanguageServer(root);
    const capabilities = { textDocument: { documentSymbol: { hierarchicalDocumentSymbolSupport: true } } };
    await server.#ask('initialize', { processId: process.pid, rootUri: pathToFileURL(root).href, capabilities });
    server.#tell('initialized', {});
    return server;
  }

  async stop(): Promise<void> {
    const ended = once(this.#child, 'exit');
    await this.#ask('shutdown').catch(() => this.#child.kill());
    this.#tell('exit');
    this.#child.stdin?.end();
    await ended;
  }

  /** Where `call`, such as `this.#hub.moved`, leads to from the body of a function; throws where that has no such call. */
  async definitions(from: Place, call: string): Promise<Place[]> {
    return this.#places('textDocument/definition', from, call);
  }

  /** What is run there: the same, but for a method of an interface those that implement it. */
  async implementations(from: Place, call: string): Promise<Place[]> {
    return this.#places('textDocument/implementation', from, call);
  }

  async #places(method: string, from: Place, call: string): Promise<Place[]> {
    const position = await this.#find(from, call);
    const textDocument = { uri: this.#uri(from.file) };
    const answer = (await this.#ask(method, { textDocument, position })) as Location | readonly Location[] | null;
    const locations = answer === null ? [] : [answer].flat();
    return Promise.all(locations.map((location) => this.#placeOf(location as Location)));
  }

  /** The position of the called name within a function. */
  async #find({ file, name }: Place, call: string): Promise<Position> {
    const symbol = flat(await this.#symbolsOf(file)).find((each) => each.path === name);
    if (symbol === undefined) throw new Error(`${file} has no ${name}`);
    const lines = this.#read(file).split('\n');
    for (let line = symbol.range.start.line; line <= symbol.range.end.line; line += 1) {
      // The whole expression: `ring` is not the end of `this.#doorbell.ring`.
      const found = [...(lines[line]?.matchAll(/(?<![\w$.#?])[\w$.#?]+(?=\()/g) ?? [])].find(([text]) => text === call);
      if (found !== undefined) return { line, character: found.index + call.length - 1 };
    }
    throw new Error(`${name} in ${file} does not call ${call}`);
  }

  /** The innermost function or method that is named there. */
  async #placeOf({ uri, range }: Location): Promise<Place> {
    const file = fileURLToPath(uri).slice(this.#root.length + 1);
    const { line, character } = range.start;
    const symbol = flat(await this.#symbolsOf(file)).find(
      ({ selectionRange: { start } }) => start.line === line && start.character === character,
    );
    return { file, name: symbol?.path ?? `line ${line + 1}` };
  }

  #symbolsOf(file: string): Promise<readonly DocumentSymbol[]> {
    let symbols = this.#symbols.get(file);
    if (symbols === undefined) {
      const uri = this.#uri(file);
      const textDocument = { uri, languageId: 'typescript', version: 1, text: this.#read(file) };
      this.#tell('textDocument/didOpen', { textDocument });
      symbols = this.#ask('textDocument/documentSymbol', { textDocument: { uri } }) as Promise<DocumentSymbol[]>;
      this.#symbols.set(file, symbols);
    }
    return symbols;
  }

  #read(file: string): string {
    return readFileSync(join(this.#root, file), 'utf8');
  }

  #uri(file: string): string {
    return pathToFileURL(join(this.#root, file)).href;
  }

  #ask(method: string, params?: unknown): Promise<unknown> {
    this.#lastId += 1;
    const id = this.#lastId;
    this.#write({ id, method, params });
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, ({ result, error }) =>
        error === undefined ? resolve(result) : reject(new Error(`${method}: ${error.message}`)),
      );
    });
  }

  #tell(method: string, params?: unknown): void {
    this.#write({ method, params });
  }

  #write(message: object): void {
    const text = JSON.stringify({ jsonrpc: '2.0', ...message });
    this.#child.stdin?.write(`Content-Length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
  }

  #receive(chunk: Buffer): void {
    this.#received = Buffer.concat([this.#received, chunk]);
    for (;;) {
      const end = this.#received.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = Number(/Content-Length: (\d+)/i.exec(this.#received.subarray(0, end).toString())?.[1]);
      if (this.#received.length < end + 4 + length) return;
      const message = JSON.parse(this.#received.subarray(end + 4, end + 4 + length).toString());
      this.#received = this.#received.subarray(end + 4 + length);
      this.#handle(message);
    }
  }

  #handle(message: { id?: number; method?: string; result?: unknown; error?: { message: string } }): void {
    const { id, method } = message;
    if (id === undefined) return;
    // It asks for the settings of an editor, which has none.
    if (method !== undefined) return this.#write({ id, result: null });
    this.#waiting.get(id)?.(message);
    this.#waiting.delete(id);
  }
}

/** All symbols of a file, each with its name as a reader writes it. */
function flat(symbols: readonly DocumentSymbol[], within = ''): (DocumentSymbol & { readonly path: string })[] {
  return symbols.flatMap((symbol) => {
    const path = `${within}${symbol.name}`;
    return [{ ...symbol, path }, ...flat(symbol.children ?? [], `${path}.`)];
  });
}
