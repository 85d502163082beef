/** The streams of a campaign, and the channels in them. */

const COLUMNS =
  'key text NOT NULL, writer int NOT NULL, counter int NOT NULL, body text NOT NULL, checksum bigint NOT NULL';

/**
 * `plain` is only ever inserted into, and its table is the truth. Of the other two rows are deleted, so a trigger keeps
 * a copy of each row, in the same transaction, beside them: `kept`. `board` is updated in place, and tracked: for each shared key
 * and writer the last row, of which every fifth takes the one before away. A TRUNCATE begins a generation, in which the numbers start at 1.
 */
export const SCHEMA = `
  CREATE SCHEMA campaign;
  CREATE TABLE campaign.plain (${COLUMNS});
  CREATE TABLE campaign.pruned (${COLUMNS});
  CREATE TABLE campaign.reborn (${COLUMNS});
  CREATE TABLE campaign.kept (
    stream text NOT NULL, generation int NOT NULL, key text NOT NULL, seq bigint NOT NULL,
    writer int NOT NULL, counter int NOT NULL, body text NOT NULL, checksum bigint NOT NULL);
  CREATE TABLE campaign.generations (stream text NOT NULL, epoch text NOT NULL, generation int NOT NULL);
  SELECT rowcast.attach('campaign.plain', 'key');
  SELECT rowcast.attach('campaign.pruned', 'key');
  SELECT rowcast.attach('campaign.reborn', 'key');
  INSERT INTO campaign.generations SELECT name, epoch, 1 FROM rowcast.streams WHERE name IN ('plain', 'pruned', 'reborn');
  CREATE FUNCTION campaign.keep() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      INSERT INTO campaign.kept SELECT TG_TABLE_NAME, max(g.generation), NEW.key, NEW.seq, NEW.writer, NEW.counter, NEW.body, NEW.checksum
        FROM campaign.generations g WHERE g.stream = TG_TABLE_NAME;
      RETURN NULL;
    END $$;
  CREATE TABLE campaign.board (key text NOT NULL, writer int NOT NULL, counter int NOT NULL, PRIMARY KEY (key, writer));
  SELECT rowcast.track('campaign.board', key => 'key');
  CREATE FUNCTION campaign.score() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.counter % 5 = 0 THEN
        DELETE FROM campaign.board b WHERE b.key = NEW.key AND b.writer = NEW.writer;
      ELSE
        INSERT INTO campaign.board VALUES (NEW.key, NEW.writer, NEW.counter)
          ON CONFLICT (key, writer) DO UPDATE SET counter = excluded.counter;
      END IF;
      RETURN NULL;
    END $$;
  CREATE TRIGGER score AFTER INSERT ON campaign.plain FOR EACH ROW WHEN (NEW.key LIKE 'all%') EXECUTE FUNCTION campaign.score();
  CREATE TRIGGER keep AFTER INSERT ON campaign.pruned FOR EACH ROW EXECUTE FUNCTION campaign.keep();
  CREATE TRIGGER keep AFTER INSERT ON campaign.reborn FOR EACH ROW EXECUTE FUNCTION campaign.keep();
`;

export type StreamName = 'plain' | 'pruned' | 'reborn';

const names = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, index) => `${prefix}${`${index}`.padStart(2, '0')}`);

/** Keys that one writer each has for itself: nobody waits for their locks, so every wait is somebody's fault. */
export const OWNED = names('own', 12);
/** Keys that all writers share. */
export const SHARED = names('all', 20);
/** Keys of transactions that stay open for long, and that lock each other out. */
export const HELD = names('held', 4);
/** Keys that are written to all the time. */
const BUSY = [...OWNED.slice(0, 8), ...SHARED];
export const PRUNED = names('old', 2);
export const REBORN = names('new', 2);

export const BUSY_CHANNELS = BUSY.map((key) => `plain:${key}`);
export const PLAIN_CHANNELS = [...OWNED, ...SHARED, ...HELD].map((key) => `plain:${key}`);
export const BOARD_CHANNELS = SHARED.map((key) => `board:${key}`);
export const PRUNED_CHANNELS = PRUNED.map((key) => `pruned:${key}`);
export const REBORN_CHANNELS = REBORN.map((key) => `reborn:${key}`);
