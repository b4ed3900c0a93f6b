-- Searches by a metric need of its values nothing but what they are of: the index alone answers them.
DROP INDEX record_number;
CREATE INDEX record_number ON record (kind, name, number, parent) WHERE number IS NOT NULL;
-- A search whose matches come in the order of their making walks this index and stops when its page is full.
CREATE INDEX record_created ON record (kind, project, created, id);
