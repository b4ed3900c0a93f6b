-- Views for people with the sqlite3 shell. Nothing in the library reads them; the bodies hold more than they show.
CREATE VIEW event_log AS SELECT
    offset, strftime('%Y-%m-%dT%H:%M:%fZ', recorded / 1000.0, 'unixepoch') AS recorded,
    namespace, key, event_type, value, sender, context,
    strftime('%Y-%m-%dT%H:%M:%fZ', time / 1000.0, 'unixepoch') AS time, cause, hops, id
FROM event ORDER BY offset;

CREATE VIEW workflow AS SELECT
    project, name, json_extract(body, '$.version') AS version, state,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'workflow' ORDER BY seq;

CREATE VIEW workflow_execution AS SELECT
    id, project, name AS workflow, json_extract(body, '$.version') AS version, state AS status,
    json_extract(body, '$.cause.rule') AS rule, json_extract(body, '$.cause.events') AS events,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.created_at') / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.finished_at') / 1000.0, 'unixepoch') AS finished_at
FROM record WHERE kind = 'workflow_execution' ORDER BY seq;

CREATE VIEW job AS SELECT
    parent AS workflow_execution, project, name AS job, state AS status, json_extract(body, '$.runs') AS runs,
    json_extract(body, '$.current') AS current, json_extract(body, '$.waiting') AS waiting,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'job_state' ORDER BY seq;

CREATE VIEW job_execution AS SELECT
    id, project, parent AS workflow_execution, json_extract(body, '$.workflow') AS workflow, name AS job, state AS status,
    json_extract(body, '$.attempt') AS attempt, json_extract(body, '$.executor') AS executor,
    json_extract(body, '$.cause.rule') AS rule, json_extract(body, '$.cause.events') AS events,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.created_at') / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.started_at') / 1000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.finished_at') / 1000.0, 'unixepoch') AS finished_at,
    json_extract(body, '$.ending') AS ending
FROM record WHERE kind = 'job_execution' ORDER BY seq;

-- Metadata. The state of what is deleted is DELETED.
CREATE VIEW project AS SELECT
    name, id, state, json_extract(body, '$.uri') AS uri,
    json_extract(body, '$.description') AS description, body -> '$.tags' AS tags, body -> '$.properties' AS properties,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'project' ORDER BY seq;

CREATE VIEW dataset AS SELECT
    project, name, id, state, json_extract(body, '$.uri') AS uri, json_extract(body, '$.format') AS format, body -> '$.schema' AS schema,
    json_extract(body, '$.catalog.name') AS catalog_name, json_extract(body, '$.catalog.type') AS catalog_type,
    json_extract(body, '$.catalog.connection_uri') AS catalog_connection_uri, json_extract(body, '$.catalog.database') AS catalog_database,
    json_extract(body, '$.catalog.table') AS catalog_table,
    json_extract(body, '$.description') AS description, body -> '$.tags' AS tags, body -> '$.properties' AS properties,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'dataset' ORDER BY seq;

CREATE VIEW dataset_version AS SELECT
    project, json_extract(body, '$.dataset') AS dataset, json_extract(body, '$.version') AS version, id, state, json_extract(body, '$.uri') AS uri,
    json_extract(body, '$.digest') AS digest, body -> '$.schema' AS schema,
    json_extract(body, '$.description') AS description, body -> '$.tags' AS tags, body -> '$.properties' AS properties,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'dataset_version' ORDER BY seq;

CREATE VIEW model AS SELECT
    project, name, id, state, body -> '$.stages' AS stages,
    json_extract(body, '$.description') AS description, body -> '$.tags' AS tags, body -> '$.properties' AS properties,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'model' ORDER BY seq;

CREATE VIEW model_version AS SELECT
    project, json_extract(body, '$.model') AS model, json_extract(body, '$.version') AS version, id, state AS stage, json_extract(body, '$.status') AS status,
    json_extract(body, '$.uri') AS uri, json_extract(body, '$.model_type') AS model_type, body -> '$.aliases' AS aliases,
    (SELECT json_group_object(m.name, m.number) FROM record m
     WHERE m.kind = 'metric_summary' AND m.parent = 'model_version:' || record.id) AS metrics,
    json_extract(body, '$.created_by') AS created_by,
    json_extract(body, '$.description') AS description, body -> '$.tags' AS tags, body -> '$.properties' AS properties,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'model_version' ORDER BY seq;

-- Which version was in which stage when.
CREATE VIEW model_version_stage AS SELECT
    project, json_extract(body, '$.model') AS model, json_extract(body, '$.version') AS version, json_extract(body, '$.from') AS from_stage, json_extract(body, '$.to') AS stage,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.at') / 1000.0, 'unixepoch') AS at, json_extract(body, '$.by') AS by
FROM record WHERE kind = 'model_stage_change' ORDER BY seq;

CREATE VIEW alias AS SELECT
    project, json_extract(body, '$.model') AS model, name AS alias, json_extract(body, '$.version') AS version,
    coalesce(json_extract(body, '$.protected'), 0) AS protected, strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'alias' ORDER BY seq;

-- Which version an alias named when.
CREATE VIEW alias_history AS SELECT
    project, json_extract(body, '$.model') AS model, name AS alias, json_extract(body, '$.from') AS from_version, json_extract(body, '$.to') AS version,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.at') / 1000.0, 'unixepoch') AS at, json_extract(body, '$.by') AS by
FROM record WHERE kind = 'alias_change' ORDER BY seq;

CREATE VIEW metric_definition AS SELECT
    project, name, id, state, json_extract(body, '$.better') AS better, json_extract(body, '$.unit') AS unit, body -> '$.of' AS meant_for,
    json_extract(body, '$.job') AS job, json_extract(body, '$.uri') AS uri,
    json_extract(body, '$.description') AS description, body -> '$.tags' AS tags, body -> '$.properties' AS properties,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'metric_definition' ORDER BY seq;

CREATE VIEW metric_summary AS SELECT
    project, name, parent AS subject, number AS latest, json_extract(body, '$.step') AS step, json_extract(body, '$.min') AS min, json_extract(body, '$.max') AS max,
    json_extract(body, '$.count') AS count, strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.time') / 1000.0, 'unixepoch') AS time, json_extract(body, '$.recorded_by') AS recorded_by
FROM record WHERE kind = 'metric_summary' ORDER BY seq;

-- Every value of every metric.
CREATE VIEW metric AS SELECT
    project, name, subject, step, value, strftime('%Y-%m-%dT%H:%M:%fZ', time / 1000.0, 'unixepoch') AS time
FROM (
    SELECT s.project, s.name, s.parent AS subject, s.seq, c.seq AS chunk, p.key AS place,
        json_extract(p.value, '$[0]') AS step, json_extract(p.value, '$[1]') AS time, json_extract(p.value, '$[2]') AS value
    FROM record s JOIN record c ON c.kind = 'metric_points' AND c.parent = s.id, json_each(c.body) p
    WHERE s.kind = 'metric_summary'
    UNION ALL
    SELECT s.project, s.name, s.parent, s.seq, 9223372036854775807, p.key,
        json_extract(p.value, '$[0]'), json_extract(p.value, '$[1]'), json_extract(p.value, '$[2]')
    FROM record s, json_each(s.body, '$.tail') p
    WHERE s.kind = 'metric_summary'
) ORDER BY seq, chunk, place;

CREATE VIEW artifact AS SELECT
    project, name, id, state, json_extract(body, '$.artifact_type') AS artifact_type, json_extract(body, '$.uri') AS uri,
    json_extract(body, '$.description') AS description, body -> '$.tags' AS tags, body -> '$.properties' AS properties,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'artifact' ORDER BY seq;

-- Tags of everything, also of what the scheduler keeps.
CREATE VIEW tag AS SELECT r.project, r.kind, r.id, r.name, t.key AS tag, t.value
FROM record r, json_each(r.body, '$.tags') t
WHERE r.kind IN ('project', 'dataset', 'dataset_version', 'model', 'model_version', 'metric_definition', 'artifact')
UNION ALL
SELECT r.project, substr(r.parent, 1, instr(r.parent, ':') - 1), substr(r.parent, instr(r.parent, ':') + 1), r.name, t.key, t.value
FROM record r, json_each(r.body, '$.tags') t WHERE r.kind = 'annotation';

-- Properties of everything, also of what the scheduler keeps.
CREATE VIEW property AS SELECT r.project, r.kind, r.id, r.name, t.key AS property, t.value
FROM record r, json_each(r.body, '$.properties') t
WHERE r.kind IN ('project', 'dataset', 'dataset_version', 'model', 'model_version', 'metric_definition', 'artifact')
UNION ALL
SELECT r.project, substr(r.parent, 1, instr(r.parent, ':') - 1), substr(r.parent, instr(r.parent, ':') + 1), r.name, t.key, t.value
FROM record r, json_each(r.body, '$.properties') t WHERE r.kind = 'annotation';
