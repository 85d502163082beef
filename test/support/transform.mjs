import { createHash } from 'node:crypto';
import { transformSync, version } from 'esbuild';

const options = { loader: 'ts', format: 'esm', target: 'node20', sourcemap: 'inline' };

export default {
  process: (source, path) => transformSync(source, { ...options, sourcefile: path }),
  getCacheKey: (source, path) =>
    createHash('sha256')
      .update(JSON.stringify([version, options, path, source]))
      .digest('hex'),
};
