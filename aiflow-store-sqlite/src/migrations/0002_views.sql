-- Views for people with the sqlite3 shell. Nothing in the library reads them.
CREATE VIEW event_log AS SELECT
    offset, strftime('%Y-%m-%dT%H:%M:%fZ', recorded / 1000.0, 'unixepoch') AS recorded,
    namespace, key, event_type, value, sender, context,
    strftime('%Y-%m-%dT%H:%M:%fZ', time / 1000.0, 'unixepoch') AS time, cause, hops, id
FROM event;
