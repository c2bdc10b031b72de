package server

// Times are Unix milliseconds. A name is one account's, whatever happens at the
// same time: the index says so. The log can only grow: the triggers say so.
const schema = `
CREATE TABLE account (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	name TEXT NOT NULL,
	message_key BLOB NOT NULL, -- SPKI
	sign_key BLOB NOT NULL,
	mailbox BLOB NOT NULL,     -- HMAC of the e-mail address
	proven INTEGER NOT NULL,
	created INTEGER NOT NULL,
	activated INTEGER NOT NULL DEFAULT 0, -- 0: not yet
	version INTEGER NOT NULL DEFAULT 0,
	log_seq INTEGER NOT NULL DEFAULT 0,   -- the entry that published the keys
	log_hash TEXT NOT NULL DEFAULT '',
	old_sign TEXT NOT NULL DEFAULT '',    -- of the last rotation
	rotation TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE UNIQUE INDEX account_name ON account (name);
CREATE INDEX account_waiting ON account (created) WHERE activated = 0;
CREATE TABLE link (
	hash BLOB PRIMARY KEY, -- SHA-256 of the token
	account INTEGER NOT NULL REFERENCES account ON DELETE CASCADE,
	activates INTEGER NOT NULL, -- else it deletes
	expires INTEGER NOT NULL,
	welcome INTEGER NOT NULL DEFAULT 0 -- it deletes, and stands in the first mail
) STRICT, WITHOUT ROWID;
CREATE INDEX link_account ON link (account);
CREATE TABLE outbox (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	account INTEGER REFERENCES account ON DELETE CASCADE, -- NULL: for the name, if the address is its own
	name TEXT NOT NULL,
	address TEXT NOT NULL,
	created INTEGER NOT NULL,
	due INTEGER NOT NULL,
	tries INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX outbox_due ON outbox (due);
CREATE INDEX outbox_account ON outbox (account);
CREATE TABLE mailed (
	mailbox BLOB NOT NULL,
	time INTEGER NOT NULL
) STRICT;
CREATE INDEX mailed_mailbox ON mailed (mailbox, time);
CREATE INDEX mailed_time ON mailed (time);
CREATE TABLE log (
	seq INTEGER PRIMARY KEY,
	name TEXT NOT NULL,
	version INTEGER NOT NULL,
	line TEXT NOT NULL
) STRICT;
CREATE INDEX log_name ON log (name, seq);
CREATE TRIGGER log_update BEFORE UPDATE ON log BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER log_delete BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;
CREATE TRIGGER log_insert BEFORE INSERT ON log WHEN NEW.seq != (SELECT coalesce(max(seq), 0) + 1 FROM log)
	BEGIN SELECT RAISE(ABORT, 'the log only grows'); END;`

// toVersion2 tells the links in first mails from those that were asked for later:
// of each account, it was made first.
const toVersion2 = `
ALTER TABLE link ADD COLUMN welcome INTEGER NOT NULL DEFAULT 0;
UPDATE link SET welcome = 1 WHERE NOT activates AND expires = (SELECT min(expires) FROM link l WHERE l.account = link.account AND NOT l.activates);`
