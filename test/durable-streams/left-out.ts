/**
 * What of the conformance tests is left out, and why. Names are those of the tests, groups the beginnings of their
 * names. The run fails if a name is not found, so that the list cannot outlive what it speaks of.
 */
export interface LeftOut {
  readonly reason: string;
  readonly groups?: readonly string[];
  readonly tests?: readonly string[];
}

/** Not run: of Rowcast nothing would be tested, but only what stands in for the writing half. */
export const NOT_RUN: readonly LeftOut[] = [
  {
    reason: 'Writing is an INSERT. What a PUT, a POST or a DELETE refuses and answers concerns writing alone.',
    groups: [
      'Case-Insensitivity',
      'Idempotent Producer Operations',
      'Property-Based Tests (fast-check) Sequence Ordering Properties',
      'Stream Closure Idempotent Producers with Stream Closure',
    ],
    tests: [
      'Basic Stream Operations should create a stream',
      'Basic Stream Operations should allow idempotent create with same config',
      'Basic Stream Operations should reject create with different config (409)',
      'Append Operations should enforce sequence ordering with seq',
      'HTTP Protocol should return correct headers on PUT',
      'HTTP Protocol should return 200 on idempotent PUT with same config',
      'HTTP Protocol should return 409 on PUT with different config',
      'HTTP Protocol should return correct headers on POST',
      'HTTP Protocol should return 404 on POST to non-existent stream',
      'HTTP Protocol should return 409 on content-type mismatch',
      'HTTP Protocol should return 404 on DELETE non-existent stream',
      'HTTP Protocol should enforce sequence ordering',
      'HTTP Protocol should enforce lexicographic seq ordering ("2" then "10" rejects)',
      'HTTP Protocol should allow lexicographic seq ordering ("09" then "10" succeeds)',
      'HTTP Protocol should reject duplicate seq values',
      'Browser Security Headers should include X-Content-Type-Options: nosniff on PUT responses',
      'Browser Security Headers should include X-Content-Type-Options: nosniff on POST responses',
      'Content-Type Validation should enforce content-type match on append',
      'Content-Type Validation should allow append with matching content-type',
      'Protocol Edge Cases should reject empty POST body with 400',
      'Protocol Edge Cases should enforce case-sensitive seq ordering',
      'Protocol Edge Cases should return Location header on 201',
      'Protocol Edge Cases should reject missing Content-Type on POST',
      'Protocol Edge Cases should accept PUT without Content-Type (use default)',
      'Chunking and Large Payloads should handle large payload appropriately',
      'JSON Mode should reject POST with empty array body',
      'JSON Mode should reject invalid JSON with 400',
      'JSON Mode should reject empty JSON arrays with 400',
      'Property-Based Tests (fast-check) Concurrent Writer Stress Tests concurrent writers with sequence numbers - server handles gracefully',
      'Property-Based Tests (fast-check) Concurrent Writer Stress Tests concurrent writers racing with incrementing seq values',
    ],
  },
  {
    reason: 'A channel has no time to live of its own: a stream has a retention policy, stated with SQL.',
    groups: ['TTL and Expiry Validation', 'TTL and Expiry Edge Cases', 'TTL Expiration Behavior'],
    tests: ['HEAD Metadata Edge Cases should return Expires-At metadata if configured'],
  },
  {
    reason: 'A channel is not closed: another row can always follow.',
    groups: [
      'Stream Closure Create with Stream-Closed',
      'Stream Closure Close Operations',
      'Stream Closure SSE with Stream Closure',
      'Stream Closure Edge Cases',
    ],
  },
  { reason: 'A channel is not forked.', groups: ['Fork - '] },
  { reason: 'Push subscriptions are an optional part, and off in the tests.', groups: ['Reserved subscription APIs'] },
  {
    reason: 'Events are JSON. How text or bytes are written on an event stream is up to what stands in.',
    tests: [
      'SSE Mode should handle newlines in text/plain payloads',
      'SSE Mode should prevent CRLF injection in payloads - embedded event boundaries become literal data',
      'SSE Mode should prevent CRLF injection - LF-only attack vectors',
      'SSE Mode should prevent CRLF injection - carriage return only attack vectors',
      'SSE Mode should NOT include Stream-SSE-Data-Encoding header for text/plain streams',
      'SSE Mode should base64 encode data events only, control events remain JSON',
      'SSE Mode should handle empty binary payload with auto-detected base64 encoding',
      'SSE Mode should handle offset=now with auto-detected base64 encoding for binary streams',
    ],
  },
];

/** Run, and have to fail: what a reader may miss. One that passes has to leave the list. */
export const FAILING: readonly LeftOut[] = [
  {
    reason: 'A channel has no time to live of its own.',
    tests: ['HEAD Metadata Edge Cases should return TTL metadata if configured'],
  },
  {
    reason: 'A channel is not closed, so that no answer says so.',
    groups: ['Stream Closure Read Closed Streams (Catch-up)', 'Stream Closure Long-poll with Stream Closure'],
    tests: ['Stream Closure HEAD with Stream Closure head-closed-stream: HEAD returns Stream-Closed: true header'],
  },
  {
    reason: 'Events are JSON: there are no bytes that an event stream would have to carry as base64.',
    tests: [
      'SSE Mode base64 SSE catch-up pairs every data event with a control event',
      'SSE Mode should auto-detect binary streams and return base64 encoded data in SSE mode',
      'SSE Mode should include Stream-SSE-Data-Encoding header for binary streams',
      'SSE Mode should handle large binary payload with auto-detected base64 encoding',
      'SSE Mode should handle binary data with special bytes using auto-detected base64 encoding',
      'SSE Mode should auto-detect base64 encoding for application/x-protobuf streams',
      'SSE Mode should auto-detect base64 encoding for image/png streams',
    ],
  },
];
