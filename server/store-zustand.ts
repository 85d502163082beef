export * from '@rowcast/client/store/zustand';
