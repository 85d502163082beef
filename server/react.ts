// No 'use client' here: it stands in each file of the client, and a boundary may not have `export *`.
export * from '@rowcast/client/react';
