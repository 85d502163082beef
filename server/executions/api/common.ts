import { z } from 'zod';

/** What answers of several routes have in common. */
export const conditional = z.object({
  'If-None-Match': z.string().optional().meta({ description: 'The ETag of the answer that you have.' }),
});
export const etag = z.object({
  ETag: z.string(),
  'Cache-Control': z.string().meta({ description: 'A finished execution may be kept for 30 seconds.' }),
});
export const unchanged = { description: 'Nothing was written since the answer that you have.', headers: etag };
