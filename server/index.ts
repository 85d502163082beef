export { type Config, ConfigError, readConfig } from './config.js';
export { type Gateway, startGateway } from './gateway.js';
export { type Logger, makeLogger } from './logger.js';
export { MigrationChanged, migrate } from './postgres/migrate.js';
