/** `rowcast up --no-demo` with values of `Config` that are no settings: the argument holds them as JSON. */
import { up } from '../../server/cli/up.js';
import { type Config, readConfig } from '../../server/settings/config.js';

const values = JSON.parse(process.argv[2] ?? '{}') as Partial<Config>;
await up({ ...readConfig(process.env), ...values }, { demo: false });
process.exit();
