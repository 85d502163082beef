export * from '@rowcast/client/protocol';
