export * from '@rowcast/client/progress';
