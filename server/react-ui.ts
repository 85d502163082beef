export * from '@rowcast/client/react/ui';
