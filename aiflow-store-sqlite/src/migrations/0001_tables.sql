-- Facts about this store; one row.
CREATE TABLE meta (
    one              INTEGER PRIMARY KEY CHECK (one = 1),
    store_id         TEXT    NOT NULL,
    -- Everything up to this offset was trimmed from the log.
    trimmed          INTEGER NOT NULL DEFAULT 0,
    -- `recorded` of the newest trimmed event: the log's time never goes backwards, also when the log is empty.
    trimmed_recorded INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The event log. AUTOINCREMENT: an offset is never used again, also after trimming.
CREATE TABLE event (
    offset     INTEGER PRIMARY KEY AUTOINCREMENT,
    recorded   INTEGER NOT NULL,          -- milliseconds since the Unix epoch, when appended
    id         TEXT    NOT NULL UNIQUE,
    namespace  TEXT    NOT NULL,
    key        TEXT    NOT NULL,
    event_type TEXT    NOT NULL,
    sender     TEXT    NOT NULL,
    value      TEXT,                      -- JSON; NULL is null
    context    TEXT,                      -- JSON; NULL if the event concerns the whole namespace
    time       INTEGER,                   -- milliseconds, by the sender's clock
    cause      INTEGER,                   -- offset of the event that led to this one
    hops       INTEGER                    -- causes back to the first outside event
) STRICT;

-- Records: the body is the truth, the columns before it are copies by which records are found.
CREATE TABLE record (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,  -- order of the first put
    kind     TEXT    NOT NULL,
    id       TEXT    NOT NULL,
    project  TEXT    NOT NULL,
    parent   TEXT    NOT NULL,
    name     TEXT    NOT NULL,
    state    TEXT    NOT NULL,
    revision INTEGER NOT NULL,
    created  INTEGER NOT NULL,
    updated  INTEGER NOT NULL,
    body     TEXT    NOT NULL,                   -- JSON
    number   REAL,                               -- by which records of one kind and name are compared
    UNIQUE (kind, id)
) STRICT;
CREATE INDEX record_kind    ON record (kind, seq);
CREATE INDEX record_project ON record (kind, project, seq);
CREATE INDEX record_parent  ON record (kind, parent, seq);
CREATE INDEX record_name    ON record (kind, name, seq);
CREATE INDEX record_state   ON record (kind, state, seq);
CREATE INDEX record_number  ON record (kind, name, number, seq) WHERE number IS NOT NULL;

-- Lineage and membership between records.
CREATE TABLE relation (
    kind      TEXT NOT NULL,
    from_kind TEXT NOT NULL,
    from_id   TEXT NOT NULL,
    to_kind   TEXT NOT NULL,
    to_id     TEXT NOT NULL,
    PRIMARY KEY (from_kind, from_id, kind, to_kind, to_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX relation_to   ON relation (to_kind, to_id, kind, from_kind, from_id);
CREATE INDEX relation_kind ON relation (kind, from_kind, from_id, to_kind, to_id);

-- Who may decide. The row outlives its holder, so that the epoch only rises.
CREATE TABLE lease (
    name    TEXT    PRIMARY KEY,
    holder  TEXT    NOT NULL,             -- empty: nobody
    epoch   INTEGER NOT NULL,
    expires INTEGER NOT NULL,             -- milliseconds since the Unix epoch
    locked  INTEGER NOT NULL              -- 1: the holder also holds the lock file, so a free lock file means that it died
) STRICT, WITHOUT ROWID;
