package messenger

// Migrations make and change the messenger's tables: give them to
// [profile.Create] and [profile.Open]. They are only ever appended to.
var Migrations = []string{schema, groups, accounts}

// schema is what the messenger keeps in the profile's database, version 1. All
// times are Unix milliseconds, all IDs of rows grow and are never used twice.
//
// A contact is devices, a device is lines, a line is paths. A line is one secure
// transport with its state (which the profile keeps under the line's number) and
// its mailboxes: in-paths are ours, out-paths the peer's. One conversation has
// one timeline. What is to be sent is an intent for each line until it is sealed,
// then a packet with one outbox row for each path.
const schema = `
CREATE TABLE contacts (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	name     TEXT NOT NULL UNIQUE,
	named    INTEGER NOT NULL,            -- 0: a placeholder until the peer tells its name
	display  TEXT NOT NULL DEFAULT '',    -- what the peer calls itself
	receipts TEXT NOT NULL,               -- none, delivered, read: what we tell
	created  INTEGER NOT NULL,
	last     INTEGER NOT NULL DEFAULT 0   -- the newest message
);
CREATE TABLE devices (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	contact INTEGER REFERENCES contacts ON DELETE CASCADE, -- NULL: a device of ours
	number  BLOB,                         -- the device's own ID, once known
	label   TEXT NOT NULL DEFAULT ''
);
CREATE INDEX devices_contact ON devices (contact);
CREATE TABLE lines (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	device      INTEGER NOT NULL REFERENCES devices ON DELETE CASCADE,
	stp_type    INTEGER NOT NULL,
	stp_version INTEGER NOT NULL,
	bare        INTEGER NOT NULL,
	role        TEXT NOT NULL,            -- inviter, acceptor
	state       TEXT NOT NULL,            -- invited, claiming, connecting, connected, retired
	oneway      INTEGER NOT NULL DEFAULT 0, -- bare: the peer gave no mailbox of its own
	offer       BLOB,                     -- acceptor: until it is answered
	invitation  BLOB NOT NULL,            -- digest: which invitation made this line
	number      BLOB,                     -- the pinned safety number
	verified    INTEGER NOT NULL DEFAULT 0,
	changed     INTEGER NOT NULL DEFAULT 0, -- loud until verified again
	mac         BLOB,                     -- over number, verified, changed
	created     INTEGER NOT NULL,
	retired     INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX lines_device ON lines (device);
CREATE INDEX lines_invitation ON lines (invitation);
CREATE INDEX lines_state ON lines (state);
CREATE TABLE paths (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	line    INTEGER REFERENCES lines ON DELETE SET NULL,
	dir     TEXT NOT NULL,                -- in, out
	scheme  TEXT NOT NULL,
	relay   TEXT NOT NULL,                -- the relay's address: no secret
	address TEXT NOT NULL,                -- the mailbox; forgotten once it is secured
	secret  BLOB,
	mark    BLOB,
	max     INTEGER NOT NULL DEFAULT 0,
	bind    BLOB,                         -- what will secure it; forgotten then
	state   TEXT NOT NULL,                -- in: want, open, secure, closed, delete; out: join, confirm, ready, dead
	why     TEXT NOT NULL DEFAULT ''
);
CREATE INDEX paths_line ON paths (line);
CREATE INDEX paths_state ON paths (state);
CREATE TABLE conversations (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	contact INTEGER REFERENCES contacts ON DELETE CASCADE, -- NULL in a group
	grp     BLOB,
	epoch   INTEGER NOT NULL DEFAULT 0
);
CREATE UNIQUE INDEX conversations_contact ON conversations (contact);
CREATE TABLE timeline (
	seq          INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
	author       INTEGER NOT NULL,        -- a contact; 0: we; -1: the messenger itself
	id           BLOB NOT NULL,
	grp          BLOB,
	epoch        INTEGER NOT NULL DEFAULT 0,
	kind         TEXT NOT NULL,           -- text, notice
	text         TEXT NOT NULL,
	hash         BLOB NOT NULL,           -- SHA-256 of the body as it was sealed
	sent         INTEGER NOT NULL,
	received     INTEGER NOT NULL DEFAULT 0,
	state        TEXT NOT NULL,
	error        TEXT NOT NULL DEFAULT '',
	tries        INTEGER NOT NULL DEFAULT 0,
	UNIQUE (conversation, author, id)
);
CREATE INDEX timeline_id ON timeline (id);
CREATE INDEX timeline_conversation ON timeline (conversation, seq);
CREATE INDEX timeline_queued ON timeline (conversation) WHERE state = 'queued';
CREATE INDEX timeline_new ON timeline (conversation, seq) WHERE state = 'received';
CREATE TABLE intents (
	id          INTEGER PRIMARY KEY AUTOINCREMENT,
	line        INTEGER NOT NULL REFERENCES lines ON DELETE CASCADE,
	message     INTEGER REFERENCES timeline ON DELETE CASCADE, -- receipts: the message they are about
	kind        TEXT NOT NULL,            -- message, hello, delivered, read
	number      BLOB NOT NULL,            -- the message ID
	amp_type    INTEGER NOT NULL DEFAULT 0,
	amp_version INTEGER NOT NULL DEFAULT 0,
	body        BLOB,
	sent        INTEGER NOT NULL
);
CREATE INDEX intents_line ON intents (line, id);
CREATE INDEX intents_message ON intents (message);
CREATE TABLE packets (
	id      INTEGER PRIMARY KEY AUTOINCREMENT,
	line    INTEGER NOT NULL REFERENCES lines ON DELETE CASCADE,
	message INTEGER REFERENCES timeline ON DELETE CASCADE,
	kind    TEXT NOT NULL,                -- as intents; answer, confirm, protocol
	packet  BLOB NOT NULL,
	relayed INTEGER NOT NULL DEFAULT 0    -- one path has taken it
);
CREATE INDEX packets_message ON packets (message);
CREATE INDEX packets_line ON packets (line);
CREATE TABLE outbox (
	id     INTEGER PRIMARY KEY AUTOINCREMENT,
	packet INTEGER NOT NULL REFERENCES packets ON DELETE CASCADE,
	path   INTEGER NOT NULL REFERENCES paths ON DELETE CASCADE,
	part   INTEGER NOT NULL DEFAULT 0,    -- the next piece to send
	tries  INTEGER NOT NULL DEFAULT 0,
	next   INTEGER NOT NULL DEFAULT 0,
	why    TEXT NOT NULL DEFAULT ''
);
CREATE INDEX outbox_path ON outbox (path, id);
CREATE INDEX outbox_packet ON outbox (packet);
CREATE TABLE inbox (
	id     INTEGER PRIMARY KEY AUTOINCREMENT,
	line   INTEGER NOT NULL REFERENCES lines ON DELETE CASCADE,
	path   INTEGER NOT NULL,
	digest BLOB NOT NULL,
	packet BLOB NOT NULL,
	bind   BLOB,
	came   INTEGER NOT NULL,
	state  TEXT NOT NULL,                 -- new, kept
	why    TEXT NOT NULL DEFAULT '',
	tries  INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX inbox_line ON inbox (line, state);
CREATE INDEX inbox_new ON inbox (id) WHERE state = 'new';
CREATE TABLE fragments (
	line   INTEGER NOT NULL REFERENCES lines ON DELETE CASCADE,
	digest BLOB NOT NULL,
	count  INTEGER NOT NULL,
	idx    INTEGER NOT NULL,
	chunk  BLOB NOT NULL,
	came   INTEGER NOT NULL,
	PRIMARY KEY (line, digest, count, idx)
) WITHOUT ROWID;
CREATE TABLE once (
	line   INTEGER NOT NULL REFERENCES lines ON DELETE CASCADE,
	sender TEXT NOT NULL,
	once   BLOB NOT NULL,
	PRIMARY KEY (line, sender, once)
) WITHOUT ROWID;
CREATE TABLE seen (
	line   INTEGER NOT NULL REFERENCES lines ON DELETE CASCADE,
	digest BLOB NOT NULL,
	came   INTEGER NOT NULL,
	PRIMARY KEY (line, digest)
) WITHOUT ROWID;
CREATE TABLE settings (
	key   TEXT PRIMARY KEY,
	value BLOB NOT NULL
) WITHOUT ROWID;
`

// groups is version 2: lines that many read and write.
//
// In timeline, an author below -1 is a member of a group: the one of members
// whose row is -1 - author. So that two members' equal message IDs are two
// messages, and an author needs no other column.
const groups = `
ALTER TABLE lines ADD COLUMN shared INTEGER NOT NULL DEFAULT 0; -- 1: its one mailbox is everybody's
CREATE TABLE members (
	id           INTEGER PRIMARY KEY AUTOINCREMENT,
	conversation INTEGER NOT NULL REFERENCES conversations ON DELETE CASCADE,
	member       TEXT NOT NULL,           -- the ID, as the transport has proven it
	name         TEXT NOT NULL DEFAULT '', -- ours for them
	UNIQUE (conversation, member)
);
CREATE TABLE requests (
	id     INTEGER PRIMARY KEY AUTOINCREMENT,
	line   INTEGER NOT NULL REFERENCES lines ON DELETE CASCADE,
	member TEXT NOT NULL,
	packet BLOB NOT NULL,                 -- the introduction
	denied INTEGER NOT NULL DEFAULT 0,
	came   INTEGER NOT NULL,
	UNIQUE (line, member)
);
CREATE TABLE answers (
	line   INTEGER NOT NULL REFERENCES lines ON DELETE CASCADE,
	digest BLOB NOT NULL,                 -- of an introduction that we have answered
	came   INTEGER NOT NULL,
	PRIMARY KEY (line, digest)
) WITHOUT ROWID;
`

// accounts is version 3: mailboxes that serve many conversations.
const accounts = `
CREATE TABLE accounts (
	id       INTEGER PRIMARY KEY AUTOINCREMENT,
	kind     TEXT NOT NULL,
	name     TEXT NOT NULL,               -- who we are there
	server   TEXT NOT NULL,               -- where; user and password may stand in it
	line     INTEGER NOT NULL,            -- ours: its mailbox, and the account's state
	presence INTEGER NOT NULL DEFAULT 0,  -- contacts are told when we are here
	created  INTEGER NOT NULL,
	UNIQUE (kind, name)
);
ALTER TABLE lines ADD COLUMN account INTEGER REFERENCES accounts ON DELETE CASCADE; -- NULL: a mailbox of its own
ALTER TABLE lines ADD COLUMN peer TEXT NOT NULL DEFAULT '';         -- the contact's user name there
ALTER TABLE lines ADD COLUMN looked INTEGER NOT NULL DEFAULT 0;     -- when to look the keys up next
ALTER TABLE lines ADD COLUMN checked INTEGER NOT NULL DEFAULT 0;    -- when the directory was last asked about them and answered
ALTER TABLE lines ADD COLUMN trouble TEXT NOT NULL DEFAULT '';      -- why there are no keys yet
ALTER TABLE lines ADD COLUMN stranger INTEGER NOT NULL DEFAULT 0;   -- wrote to us, and we did not add it
CREATE TABLE strangers (
	account INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
	name    TEXT NOT NULL,                -- whose keys are to be looked up
	next    INTEGER NOT NULL,             -- when
	tries   INTEGER NOT NULL DEFAULT 0,
	UNIQUE (account, name)
);
CREATE TABLE account_once (
	account INTEGER NOT NULL REFERENCES accounts ON DELETE CASCADE,
	sender  TEXT NOT NULL,
	once    BLOB NOT NULL,                -- of a message that was shown; outlives its contact
	PRIMARY KEY (account, sender, once)
) WITHOUT ROWID;
ALTER TABLE inbox ADD COLUMN who TEXT NOT NULL DEFAULT '';       -- at an account: whom it claims to be from
ALTER TABLE inbox ADD COLUMN doubt INTEGER NOT NULL DEFAULT 0;   -- 1: no key that we know verifies it
CREATE INDEX inbox_path ON inbox (path, digest);
CREATE INDEX inbox_who ON inbox (line, who) WHERE who <> '';
CREATE TABLE presence (
	line  INTEGER PRIMARY KEY REFERENCES lines ON DELETE CASCADE,
	kind  INTEGER NOT NULL,               -- what the contact last said of itself
	sent  INTEGER NOT NULL,
	until INTEGER NOT NULL
);
CREATE UNIQUE INDEX lines_peer ON lines (account, peer) WHERE account IS NOT NULL AND state <> 'retired';
`
