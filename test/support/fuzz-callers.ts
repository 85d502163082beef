import { connect, type Socket } from 'node:net';
import { errors, isErrorCode } from '../../client/protocol/index.js';
import type { HttpRequest } from './fuzz-doors.js';
import { type Answer, type Call, readAnswers } from './fuzz-http.js';
import { type AnyFrame, faultOfText, frameJudge, isReply } from './fuzz-judge.js';
import type { Stay } from './fuzz-stays.js';
import { until } from './until.js';

const DEADLINE = 15_000;

/** Answers that have no body. */
const BODILESS = [101, 204, 304];

/** Enough to see what it is: the rest can be made again from the seed. */
const shown = (value: unknown) => JSON.stringify(value)?.slice(0, 600);

interface Body {
  readonly error?: { readonly code: string };
  readonly checks?: object;
  readonly frames?: readonly AnyFrame[];
}

function parsed(body: string): Body {
  return body.startsWith('{') ? (JSON.parse(body) as Body) : {};
}

interface Caller {
  readonly socket: Socket;
  bytes(): Buffer;
  closed(): boolean;
}

function call(url: string): Caller {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), noDelay: true });
  const chunks: Buffer[] = [];
  let closed = false;
  socket.on('error', () => {}); // a close event follows
  socket.on('close', () => {
    closed = true;
  });
  socket.on('data', (data: Buffer) => chunks.push(data));
  return {
    socket,
    closed: () => closed,
    bytes: () => {
      const all = Buffer.concat(chunks);
      chunks.splice(0, chunks.length, all);
      return all;
    },
  };
}

/** Why an answer is wrong, if it is. */
function faultOf({ method, ids }: HttpRequest, { status, type, body }: Answer): string | null {
  const { error, checks, frames } = parsed(body);
  if (status >= 500 && checks === undefined) return 'the gateway is in trouble';
  if (method === 'HEAD') return null;
  if (BODILESS.includes(status)) return body === '' ? null : 'a body that does not belong there';
  // The latter are metrics.
  if (type !== 'application/json' && !(type === 'text/plain' && status === 200)) return 'no JSON';
  if (status >= 300)
    return checks !== undefined || Object.hasOwn(errors, error?.code ?? '') ? null : 'no code of the table';
  if (frames === undefined) return null;
  const fault = frames.map(frameJudge(method === 'POST')).find((found) => found !== null);
  if (fault !== undefined) return fault;
  if (ids === null) return null;
  const replies = frames.filter(isReply).map(({ id }) => id ?? -1);
  // Where the first was refused the others are not heard: they come too early.
  const heard = frames.some((frame) => frame.type === 'connected') ? ids : ids.slice(0, 1);
  const asked = heard.map((id) => id ?? -1);
  const same = JSON.stringify(replies.sort()) === JSON.stringify(asked.sort());
  return same ? null : `replies to ${replies}, and asked was ${asked}`;
}

/** Makes one call and returns how many requests were answered. Throws where an answer is missing or wrong. */
export async function makeCall(url: string, { requests, tail }: Call): Promise<number> {
  const { socket, bytes, closed } = call(url);
  const methods = requests.map(({ method }) => method);
  const read = () => readAnswers(bytes(), methods).answers;
  socket.write(requests.map(({ text }) => text).join(''), 'latin1');
  await until(() => closed() || read().length >= requests.length, {
    deadlineMs: DEADLINE,
    what: `the answers to ${shown(requests.slice(read().length).map(({ text }) => text.slice(0, 200)))}`,
  });
  socket.end(tail);
  await until(closed, {
    deadlineMs: DEADLINE,
    what: `the end of the call after ${shown(tail.toString('latin1', 0, 200))}`,
  });
  const answers = read();
  const told = faultOfText(bytes().toString());
  if (told !== null) throw new Error(told);
  for (const [index, request] of requests.entries()) {
    const answer = answers[index];
    if (answer === undefined)
      throw new Error(`no answer to ${shown(request)}, but ${shown(bytes().toString().slice(-200))}`);
    const fault = faultOf(request, answer);
    if (fault !== null) throw new Error(`${fault}: ${shown(request.text)} had ${shown(answer)}`);
  }
  for (const { body } of answers.slice(requests.length)) parsed(body); // what is not HTTP any more needs no code
  return requests.length + (tail.length > 0 ? 1 : 0);
}

/** What of a chunked body has come, and whether that is all of it. */
function unchunked(bytes: Buffer): { body: Buffer; whole: boolean } {
  const parts: Buffer[] = [];
  for (let at = 0; ; ) {
    const end = bytes.indexOf('\r\n', at);
    const size = end < 0 ? Number.NaN : Number.parseInt(bytes.toString('latin1', at, end), 16);
    if (size === 0) return { body: Buffer.concat(parts), whole: true };
    if (Number.isNaN(size) || end + 2 + size > bytes.length) return { body: Buffer.concat(parts), whole: false };
    parts.push(bytes.subarray(end + 2, end + 2 + size));
    at = end + 2 + size + 2;
  }
}

/** Why a stream of frames is wrong, if it is: what it tells, its order, and the positions that the ids of a GET give. */
function faultOfFrames(method: string, text: string, whole: boolean): string | null {
  const judge = frameJudge();
  let last: AnyFrame | null = null;
  let connected = false;
  for (const event of text.split('\n\n').slice(0, -1)) {
    const data = /^data: (.*)$/m.exec(event)?.[1];
    if (data === undefined) continue;
    last = JSON.parse(data) as AnyFrame;
    const fault = judge(last);
    if (fault !== null) return fault;
    connected ||= last.type === 'connected';
    const { type, channel = '', from = 0, events = [] } = last;
    if (type !== 'events' || method !== 'GET') continue; // with POST there is none
    const position = new URLSearchParams(/^id: (.*)$/m.exec(event)?.[1]).get(channel);
    if (Number(position?.split('.')[1]) !== from + events.length - 1) return `the id does not belong to: ${event}`;
  }
  // Whoever does not begin with a connect that is good has one answer, and the end.
  const answered = last !== null && !connected;
  const announced = answered || (last?.type === 'error' && last.id === undefined && isErrorCode(last.code ?? ''));
  return whole && !announced ? `an end without a word after ${JSON.stringify(last)}` : null;
}

function faultOfStay({ request, kind, orders }: Stay, bytes: Buffer): string | null {
  const ids = orders.length > 0 ? null : request.ids; // those of the orders are answered as well
  const text = bytes.toString();
  const end = bytes.indexOf('\r\n\r\n');
  const streams = /^HTTP\/1\.1 200 .*^content-type: text\/event-stream/ims.test(text.slice(0, Math.max(end, 0)));
  if (kind !== 'messages' && faultOfText(text) !== null) return faultOfText(text);
  if (!streams) {
    const [answer] = readAnswers(bytes, [request.method]).answers;
    if (answer === undefined) return null;
    // A request that was cut off is none, and is answered without a body.
    return answer.status === 400 && answer.body === '' ? null : faultOf({ ...request, ids }, answer);
  }
  const { body, whole } = unchunked(bytes.subarray(end + 4));
  if (kind === 'frames') return faultOfFrames(request.method, body.toString(), whole);
  return null;
}

/** Opens what lasts, gives it orders, and leaves; returns how many requests that were. Throws where something is wrong. */
export async function makeStay(url: string, stay: Stay): Promise<number> {
  const { request, orders, leave, how } = stay;
  const { socket, bytes, closed } = call(url);
  const whole = !('sent' in leave) || leave.sent === request.text.length;
  const written = 'sent' in leave ? request.text.slice(0, leave.sent) : request.text;
  await new Promise<void>((resolve) => {
    socket.once('close', () => resolve());
    socket.write(written, 'latin1', () => resolve());
  });
  const enough = () => {
    if (closed() || !('read' in leave)) return true;
    return bytes().length >= leave.read || readAnswers(bytes(), [request.method]).answers.length > 0;
  };
  const what = () => `${shown(stay)}, after ${shown(bytes().toString())}`;
  await until(enough, { deadlineMs: DEADLINE, what: `an answer to ${shown(request.text)}` }).catch((error: Error) => {
    throw new Error(`${error.message}: ${what()}`);
  });
  const given = whole && orders.length > 0 ? await makeCall(url, { requests: orders, tail: Buffer.alloc(0) }) : 0;
  if (how === 'end') socket.end();
  else socket.resetAndDestroy();
  await until(closed, { deadlineMs: DEADLINE, what: `the end of ${shown(request.text)}` });
  const fault = faultOfStay(stay, bytes());
  if (fault !== null) throw new Error(`${fault}: ${what()}`);
  return 1 + given;
}
