import { KiB, MiB } from './setting.js';

/**
 * Bounds and times that no installation has needed to change. They are part of `Config` instead of constants of the
 * modules that use them, so that a test can run a gateway with other values.
 */
export const fixed = {
  /** Size of the largest command, in bytes. */
  maxFrameBytes: 64 * KiB,
  /** Size of the largest request body of the HTTP API, in bytes. */
  apiBodyBytes: 1 * MiB,
  /** Size of `metadata` of an execution and of `context` of a log that the HTTP API takes, as JSON, in bytes. */
  metadataBytes: 64 * KiB,
  contextBytes: 1 * MiB,
  /** Events in one page, and so in one frame. */
  pageRows: 1_000,
  /** How long a channel stays in memory after its last reader has left, in milliseconds: until the next poll. */
  channelLinger: 30_000,
  /** Pause between two reads of the tail while the gateway is awake, in milliseconds. The gate is lost after two seconds without a read. */
  awakeInterval: 5,
  /** Pause between two reads while it sleeps, in milliseconds: how late a row is found if the gateway that should have rung dies. */
  safetyInterval: 150,
  /** How long a connection whose token has expired waits for a new one before it is closed, in milliseconds. */
  refreshTimeout: 30_000,
  /** How far the clocks of the token issuer and of the gateway may differ, in seconds. */
  jwtClockTolerance: 5,
  /** How long a ticket can be used, in seconds. */
  ticketTtl: 30,
  /** Minimum time between two fetches of the issuer's keys because of an unknown key, in seconds. */
  jwksCooldown: 10,
  /** Keys in use are fetched again after this time, in seconds: a withdrawn key is refused from then on. */
  jwksRefresh: 300,
  /** How long known keys stay valid while the issuer cannot be reached, in seconds. */
  jwksMaxAge: 3_600,
};
