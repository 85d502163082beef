export * from '@rowcast/client';
