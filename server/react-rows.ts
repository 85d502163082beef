export * from '@rowcast/client/react/rows';
