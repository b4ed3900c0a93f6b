-- Searches by a metric need of its values nothing but what they are of: the index alone answers them.
DROP INDEX record_number;
CREATE INDEX record_number ON record (kind, name, number, parent) WHERE number IS NOT NULL;
