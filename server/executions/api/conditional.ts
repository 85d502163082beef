import { z } from 'zod';

/** Headers and responses that several routes share. */
export const conditional = z.object({
  'If-None-Match': z.string().optional().meta({ description: 'The ETag of the response that you have.' }),
});
export const etag = z.object({
  ETag: z.string(),
  'Cache-Control': z.string().meta({ description: 'A finished execution may be cached for 30 seconds.' }),
});
export const unchanged = { description: 'Nothing was written since the response that you have.', headers: etag };
