/** The folder in which Drizzle and Prisma are installed; null if they are not. */
export function ormHome(): string | null;
