package server

// overhead is what a message counts beside its sender and contents, in bytes.
const overhead = 256

// Times are Unix milliseconds. Numbers of messages run over all mailboxes, as the
// original's do, and AUTOINCREMENT gives none twice. Names are compared byte by byte.
const schema = `
CREATE TABLE mailbox (
	id INTEGER PRIMARY KEY AUTOINCREMENT,
	uid TEXT NOT NULL,
	receive BLOB,                         -- SHA-256 of the owner's token; NULL: nobody's
	send BLOB,                            -- SHA-256 of the senders' token; NULL: everybody may
	permit INTEGER NOT NULL DEFAULT 0,    -- the operator lets it be claimed although it is in use
	last_ref INTEGER NOT NULL DEFAULT -1, -- of all messages that ever were here
	messages INTEGER NOT NULL DEFAULT 0,
	bytes INTEGER NOT NULL DEFAULT 0,
	used INTEGER NOT NULL                 -- when the owner, or anybody, looked last, to a day
) STRICT;
CREATE UNIQUE INDEX mailbox_uid ON mailbox (uid);
CREATE INDEX mailbox_used ON mailbox (used);
CREATE TABLE message (
	ref INTEGER PRIMARY KEY AUTOINCREMENT,
	mailbox INTEGER NOT NULL REFERENCES mailbox ON DELETE CASCADE,
	sender TEXT NOT NULL,
	contents TEXT NOT NULL,
	created INTEGER NOT NULL
) STRICT;
CREATE INDEX message_mailbox ON message (mailbox, ref);
CREATE INDEX message_created ON message (created);
CREATE TABLE sent (                       -- sendings that may be repeated
	mailbox INTEGER NOT NULL REFERENCES mailbox ON DELETE CASCADE,
	id BLOB NOT NULL,                     -- SHA-256 of sender and ID
	digest BLOB NOT NULL,                 -- SHA-256 of the contents
	ref INTEGER NOT NULL,
	created INTEGER NOT NULL,
	PRIMARY KEY (mailbox, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sent_created ON sent (created);
CREATE TABLE total (one INTEGER PRIMARY KEY CHECK (one = 1), mailboxes INTEGER NOT NULL, messages INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
INSERT INTO total VALUES (1, 0, 0, 0);
CREATE TRIGGER mailbox_in AFTER INSERT ON mailbox BEGIN UPDATE total SET mailboxes = mailboxes + 1; END;
CREATE TRIGGER mailbox_out AFTER DELETE ON mailbox BEGIN UPDATE total SET mailboxes = mailboxes - 1; END;
CREATE TRIGGER message_in AFTER INSERT ON message BEGIN
	UPDATE mailbox SET messages = messages + 1, bytes = bytes + 256 + octet_length(NEW.sender) + octet_length(NEW.contents), last_ref = max(last_ref, NEW.ref) WHERE id = NEW.mailbox;
	UPDATE total SET messages = messages + 1, bytes = bytes + 256 + octet_length(NEW.sender) + octet_length(NEW.contents);
END;
CREATE TRIGGER message_out AFTER DELETE ON message BEGIN
	UPDATE mailbox SET messages = messages - 1, bytes = bytes - 256 - octet_length(OLD.sender) - octet_length(OLD.contents) WHERE id = OLD.mailbox;
	UPDATE total SET messages = messages - 1, bytes = bytes - 256 - octet_length(OLD.sender) - octet_length(OLD.contents);
END;`
