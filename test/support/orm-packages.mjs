/** Drizzle and Prisma, whose migrations are run against tracked tables. */
import { fileURLToPath } from 'node:url';
import { beside, installMissing } from './packages-beside.mjs';

const PRISMA = '@prisma/schema-engine-wasm@8.1.0-2.59be4fda12412a79eeb9c2ae727b6aa723593323';
const OTHERS = ['drizzle-orm@0.45.4', PRISMA, '@prisma/adapter-pg@7.10.1'];
const place = beside('rowcast-orm', 'drizzle-kit', '0.31.11', OTHERS);

/** The folder in which they are installed; null if they are not. */
export const ormHome = () => (place.installed ? place.home : null);

if (process.argv[1] === fileURLToPath(import.meta.url)) installMissing([place]);
