import type { Row, Since } from '../protocol/index.js';

/** The part of a Standard Schema (standardschema.dev) that is used: a schema of zod 4, valibot or arktype fits. */
export interface RowSchema<R> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (
      value: unknown,
    ) =>
      | { readonly value: R; readonly issues?: undefined }
      | { readonly issues: readonly unknown[] }
      | Promise<unknown>;
  };
}

export interface ChannelOptions<R extends object = Row> {
  /** Where to begin: by default with the newest `keep` events. */
  readonly since?: Since | number | undefined;
  /** How many of the newest events are kept: that of the store, 1,000, by default. */
  readonly keep?: number | undefined;
  /** Checks each row, synchronously. Rows that it refuses are left out and counted. */
  readonly schema?: RowSchema<R> | undefined;
}
