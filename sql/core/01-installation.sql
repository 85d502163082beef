-- What is installed in this database, and what that changed.

CREATE SCHEMA IF NOT EXISTS rowcast;

CREATE TABLE rowcast.migrations (
  name     text PRIMARY KEY,
  checksum text NOT NULL,
  run_at   timestamptz NOT NULL DEFAULT now()
);

-- The extensions, and the schema of the tables of each. `made_schema`: it was created for the extension, and goes with it.
-- `adopted`: tables that were there already and that the extension uses as they are; they belong to the application.
CREATE TABLE rowcast.extensions (
  name         text PRIMARY KEY,
  schema       text NOT NULL,
  made_schema  boolean NOT NULL,
  adopted      text[] NOT NULL DEFAULT '{}',
  installed_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT ON rowcast.extensions TO PUBLIC;

-- The rights that each migration granted to the roles of Rowcast, as `GRANT <privilege> ON <object> TO <grantee>`; a
-- membership has no privilege. `rowcast doctor` compares them with what is there, `rowcast uninstall` revokes them.
CREATE TABLE rowcast.granted (
  migration text NOT NULL REFERENCES rowcast.migrations ON DELETE CASCADE,
  schema    text NOT NULL,
  object    text NOT NULL,
  privilege text NOT NULL,
  grantee   text NOT NULL,
  PRIMARY KEY (object, privilege, grantee)
);
