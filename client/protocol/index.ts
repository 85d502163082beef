export * from './errors.js';
export * from './frames.js';
export * from './outcomes.js';
export * from './position.js';
export * from './start.js';
