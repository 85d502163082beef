import { createHash } from 'node:crypto';

/** As `rowcast.access_changed` names a subject: every login of the database may listen, and need not read it. */
export function hashOfSubject(subject: string): string {
  return createHash('sha256').update(subject).digest('hex');
}
