// Jest loads this hook itself and knows nothing of TypeScript imports there, so tsx does it.
import { tsImport } from 'tsx/esm/api';

export default async () => (await tsImport('./global-setup.ts', import.meta.url)).default();
