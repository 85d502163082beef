import { expect, test } from '@jest/globals';
import { brokenRules, type Measures } from '../../server/executions/rules/alerts.js';
import { signatureOf } from '../../server/executions/service/webhook.js';
import { makeLogger } from '../../server/ground/logger.js';
import { ConfigError, readConfig } from '../../server/settings/config.js';

const WELL: Measures = { score: 100, attempts: { ended: 10, failed: 0 }, quiet: 0, usual: 1_000 };

test.each<[string, Partial<Measures>, object[]]>([
  ['well', {}, []],
  ['health at its threshold', { score: 50 }, []],
  ['health below it', { score: 49 }, [{ rule: 'health', value: 49, threshold: 50 }]],
  ['errors at their threshold', { attempts: { ended: 10, failed: 2 } }, []],
  ['errors above it', { attempts: { ended: 10, failed: 3 } }, [{ rule: 'errors', value: 0.3, threshold: 0.2 }]],
  ['too few attempts to tell', { attempts: { ended: 4, failed: 4 } }, []],
  ['no attempt', { attempts: { ended: 0, failed: 0 } }, []],
  ['quiet, but not for long', { quiet: 60_000 }, []],
  ['quiet for long', { quiet: 60_001 }, [{ rule: 'quiet', value: 60_001, threshold: 60_000 }]],
  ['quiet as usual', { quiet: 400_000, usual: 100_000 }, []],
  ['quiet beyond it', { quiet: 400_001, usual: 100_000 }, [{ rule: 'quiet', value: 400_001, threshold: 400_000 }]],
  ['quiet, with nothing usual to compare', { quiet: 9_000_000, usual: null }, []],
])('an execution that is %s breaks these rules', (_, measures, broken) => {
  expect(brokenRules({ ...WELL, ...measures })).toEqual(broken);
});

test('a signature is that of the example of Standard Webhooks', () => {
  const secret = 'whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw';
  expect(signatureOf(secret, 'msg_p5jXN8AQM9LWM0D4loKWxJek', 1614265330, '{"test": 2432232314}')).toBe(
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=',
  );
});

const SECRET = `whsec_${Buffer.alloc(32, 1).toString('base64')}`;
const URL_ = 'https://alerts.example/rowcast';

/** What is wrong with an environment. */
function faultsOf(env: Record<string, string>): string {
  try {
    readConfig(env);
    return '';
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.message;
  }
}

test('the receiver of alerts and its secret are set both, or neither, and no fault repeats them', () => {
  expect(faultsOf({ ROWCAST_ALERT_URL: URL_, ROWCAST_ALERT_SECRET: SECRET })).toBe('');
  expect(faultsOf({ ROWCAST_ALERT_URL: URL_ })).toMatch(/^ROWCAST_ALERT_SECRET: is missing;/);
  expect(faultsOf({ ROWCAST_ALERT_SECRET: SECRET })).toMatch(/^ROWCAST_ALERT_URL: is missing;/);
  for (const secret of ['hunter2', SECRET.slice(6), 'whsec_c2hvcnQ=', `whsec_${'A'.repeat(88)}`]) {
    const faults = faultsOf({ ROWCAST_ALERT_URL: URL_, ROWCAST_ALERT_SECRET: secret });
    expect(faults).toMatch(/^ROWCAST_ALERT_SECRET: must be whsec_ and 24 to 64 bytes/);
    expect(faults).not.toContain(secret);
  }
  for (const url of ['ftp://alerts.example', 'alerts.example', 'https://me:hunter2@alerts.example']) {
    const faults = faultsOf({ ROWCAST_ALERT_URL: url, ROWCAST_ALERT_SECRET: SECRET });
    expect(faults).toMatch(/^ROWCAST_ALERT_URL: must /);
    expect(faults).not.toContain('hunter2');
  }
});

test('no line of a log holds the secret', () => {
  const lines: string[] = [];
  makeLogger('info', (line) => lines.push(line)).info({ err: new Error(`the key ${SECRET} is wrong`) }, SECRET);
  expect(lines.join()).toContain('[hidden]');
  expect(lines.join()).not.toContain(SECRET.slice(6));
});
