/** The placeholder of the schema in the SQL of an extension, as in the scripts of PostgreSQL extensions. */
const PLACE = '@extschema@';

/** Characters that would end a quoted name or a string, which PostgreSQL forbids there as well, and % for `format()`. */
const UNUSABLE = /["$'\\%]/;

/** Whether the SQL of an extension can be installed in a schema of this name. */
export function isUsableSchema(schema: string): boolean {
  return schema !== '' && !UNUSABLE.test(schema);
}

/** Replaces the placeholder in the SQL of an extension. `schema` is the name as SQL writes it, quoted if necessary. */
export function inSchema(sql: string, schema: string): string {
  return sql.replaceAll(PLACE, schema);
}
