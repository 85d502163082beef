import { gzipSync } from 'node:zlib';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
execFileSync(process.execPath, ['bundle.mjs', '/tmp/bout']);
const read = (f) => readFileSync('/tmp/bout/' + f, 'utf8');
const walk = (f, s = new Set()) => { if (s.has(f)) return s; s.add(f); for (const [, n] of read(f).matchAll(/\bfrom"\.\/([^"]+)"/g)) walk(n, s); return s; };
console.log([...walk('rowcast.js')].map((f) => [f, read(f).length, gzipSync(read(f), { level: 9 }).length].join(' ')).join('\n'));
console.log('TOTAL', [...walk('rowcast.js')].map((f) => gzipSync(read(f), { level: 9 }).length).reduce((a, b) => a + b));
