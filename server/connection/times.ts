import type { EventTimes } from '@rowcast/client/protocol';
import { z } from 'zod';
import { type EventsFrame, framed } from '../ports/events-frame.js';

const rows = z.object({
  events: z.tuple([z.looseObject({ created_at: z.string().optional().catch(undefined) })], z.unknown()),
});

/**
 * Adds to a frame when its first event was written, read and sent. `age`: for how long the gateway has known the event, in
 * milliseconds. The frame is parsed, and its bytes are copied: only for clients that ask for it.
 */
export function withTimes(frame: EventsFrame, age: number): EventsFrame {
  const sent = performance.timeOrigin + performance.now();
  const [{ created_at }] = rows.parse(JSON.parse(frame.text.toString())).events;
  const written = created_at === undefined ? Number.NaN : Date.parse(created_at);
  const times: EventTimes = {
    written: Number.isNaN(written) ? null : written,
    read: tenths(sent - age),
    sent: tenths(sent),
  };
  return framed(frame, 'times', times);
}

function tenths(milliseconds: number): number {
  return Math.round(milliseconds * 10) / 10;
}
