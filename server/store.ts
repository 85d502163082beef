export * from '@rowcast/client/store';
