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

CREATE VIEW dataset AS SELECT
    project, json_extract(body, '$.name') AS name, json_extract(body, '$.uri') AS uri, json_extract(body, '$.format') AS format,
    json_extract(body, '$.description') AS description, json_extract(body, '$.properties') AS properties,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'dataset' ORDER BY seq;

CREATE VIEW model AS SELECT
    project, name, json_extract(body, '$.description') AS description,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'model' ORDER BY seq;

CREATE VIEW model_version AS SELECT
    project, json_extract(body, '$.model') AS model, json_extract(body, '$.version') AS version, state AS stage,
    json_extract(body, '$.uri') AS uri, json_extract(body, '$.description') AS description,
    json_extract(body, '$.metrics') AS metrics, json_extract(body, '$.created_by') AS created_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.created_at') / 1000.0, 'unixepoch') AS created_at
FROM record WHERE kind = 'model_version' ORDER BY seq;

CREATE VIEW metric AS SELECT
    project, json_extract(body, '$.name') AS name, json_extract(body, '$.value') AS value, json_extract(body, '$.step') AS step,
    body -> '$.subject' AS subject, json_extract(body, '$.recorded_by') AS recorded_by,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.recorded_at') / 1000.0, 'unixepoch') AS recorded_at
FROM record WHERE kind = 'metric' ORDER BY seq;

CREATE VIEW artifact AS SELECT
    project, json_extract(body, '$.name') AS name, json_extract(body, '$.artifact_type') AS artifact_type,
    json_extract(body, '$.uri') AS uri, json_extract(body, '$.description') AS description,
    json_extract(body, '$.properties') AS properties,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at
FROM record WHERE kind = 'artifact' ORDER BY seq;
