export * from '@rowcast/client/follow';
