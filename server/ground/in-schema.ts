/** The place of the schema in the SQL of an extension, as in the scripts of PostgreSQL's own extensions. */
const PLACE = '@extschema@';

/** As there, characters that would end a quoted name or a string; and % is special in a format. */
const UNUSABLE = /["$'\\%]/;

/** Whether SQL can be written for a schema of this name. */
export function isUsableSchema(schema: string): boolean {
  return schema !== '' && !UNUSABLE.test(schema);
}

/** The SQL of an extension, for the schema that its tables are in: its name as SQL writes it, quoted where it has to be. */
export function inSchema(sql: string, schema: string): string {
  return sql.replaceAll(PLACE, schema);
}
