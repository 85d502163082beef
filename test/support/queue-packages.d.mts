/** The folder in which the queues are installed, now if they are not there yet; null if they cannot be. */
export function queueHome(): string | null;
