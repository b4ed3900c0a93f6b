-- Views of what the first ones left out. What was a view before has its columns in the same places, and new ones behind them.
DROP VIEW workflow_execution;
CREATE VIEW workflow_execution AS SELECT
    id, project, name AS workflow, json_extract(body, '$.version') AS version, state AS status,
    json_extract(body, '$.cause.rule') AS rule, json_extract(body, '$.cause.events') AS events,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.created_at') / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.finished_at') / 1000.0, 'unixepoch') AS finished_at,
    nullif(body -> '$.params', 'null') AS params, body -> '$.labels' AS labels, json_extract(body, '$.context') AS context,
    json_extract(body, '$.rerun_of') AS rerun_of
FROM record WHERE kind = 'workflow_execution' ORDER BY seq;

DROP VIEW job_execution;
CREATE VIEW job_execution AS SELECT
    id, project, parent AS workflow_execution, json_extract(body, '$.workflow') AS workflow, name AS job, state AS status,
    json_extract(body, '$.attempt') AS attempt, json_extract(body, '$.executor') AS executor,
    json_extract(body, '$.cause.rule') AS rule, json_extract(body, '$.cause.events') AS events,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.created_at') / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.started_at') / 1000.0, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.finished_at') / 1000.0, 'unixepoch') AS finished_at,
    json_extract(body, '$.ending') AS ending,
    json_extract(body, '$.ending.exit_code') AS exit_code, coalesce(json_extract(body, '$.failures'), 0) AS failures,
    body -> '$.params' AS params, body -> '$.labels' AS labels, body -> '$.checkpoint.value' AS checkpoint,
    json_extract(body, '$.placement.host') AS host, json_extract(body, '$.logs') AS logs
FROM record WHERE kind = 'job_execution' ORDER BY seq;

DROP VIEW metric_definition;
CREATE VIEW metric_definition AS SELECT
    project, name, id, state, json_extract(body, '$.better') AS better, json_extract(body, '$.unit') AS unit, body -> '$.of' AS meant_for,
    json_extract(body, '$.job') AS job, json_extract(body, '$.uri') AS uri,
    json_extract(body, '$.description') AS description, body -> '$.tags' AS tags, body -> '$.properties' AS properties,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', updated / 1000.0, 'unixepoch') AS updated_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.start_time') / 1000.0, 'unixepoch') AS start_time,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.end_time') / 1000.0, 'unixepoch') AS end_time
FROM record WHERE kind = 'metric_definition' ORDER BY seq;

CREATE VIEW workflow_version AS SELECT
    project, name AS workflow, json_extract(body, '$.version') AS version, id, json_extract(body, '$.hash') AS hash,
    strftime('%Y-%m-%dT%H:%M:%fZ', json_extract(body, '$.submitted_at') / 1000.0, 'unixepoch') AS submitted_at,
    body -> '$.workflow' AS definition
FROM record WHERE kind = 'workflow_version' ORDER BY seq;

-- Firings that made no execution or went through admission, and what became of them. Every other one stands in what it made: `rule`, `events`.
CREATE VIEW firing AS SELECT
    id, project, json_extract(body, '$.workflow') AS workflow, json_extract(body, '$.workflow_execution') AS workflow_execution,
    json_extract(body, '$.job') AS job, json_extract(body, '$.rule') AS rule, json_extract(body, '$.schedule.schedule') AS schedule,
    json_extract(body, '$.events') AS events, json_extract(body, '$.key') AS key,
    coalesce(json_extract(body, '$.action.job'), json_extract(body, '$.action.workflow')) AS action, state AS outcome,
    json_extract(body, '$.waits.stage') AS waits_at, body -> '$.steps' AS steps,
    strftime('%Y-%m-%dT%H:%M:%fZ', created / 1000.0, 'unixepoch') AS created_at
FROM record WHERE kind = 'firing' ORDER BY seq;

-- Events that could not be applied; with a rule, that rule alone could not take it.
CREATE VIEW dead_letter AS SELECT
    r.id, r.state, json_extract(r.body, '$.reason') AS reason,
    CASE WHEN instr(r.id, '/') > 0 THEN substr(r.id, instr(r.id, '/') + 1) END AS rule,
    json_extract(r.body, '$.offset') AS event, e.namespace, e.key, e.event_type,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.created / 1000.0, 'unixepoch') AS created_at
FROM record r LEFT JOIN event e ON e.offset = json_extract(r.body, '$.offset')
WHERE r.kind = 'dead_letter' ORDER BY r.seq;

-- What was made from what, because of what: the stored relations, and those that follow from the records and events themselves.
-- What lies upstream led to what lies downstream, whichever of them the relation is written from.
CREATE VIEW lineage AS SELECT
    relation, upstream_kind, upstream_id,
    CASE upstream_kind
        WHEN 'event' THEN (SELECT CASE event_type WHEN 'UNDEFINED' THEN key ELSE event_type || ' ' || key END
            FROM event WHERE offset = CAST(upstream_id AS INTEGER))
        ELSE (SELECT name FROM record WHERE kind = upstream_kind AND id = upstream_id) END AS upstream_name,
    downstream_kind, downstream_id,
    CASE downstream_kind
        WHEN 'event' THEN (SELECT CASE event_type WHEN 'UNDEFINED' THEN key ELSE event_type || ' ' || key END
            FROM event WHERE offset = CAST(downstream_id AS INTEGER))
        ELSE (SELECT name FROM record WHERE kind = downstream_kind AND id = downstream_id) END AS downstream_name
FROM (SELECT DISTINCT * FROM (
    SELECT kind AS relation, to_kind AS upstream_kind, to_id AS upstream_id, from_kind AS downstream_kind, from_id AS downstream_id
    FROM relation WHERE kind NOT IN ('produced', 'labelled', 'stored_at')
    UNION ALL
    SELECT kind, from_kind, from_id, to_kind, to_id FROM relation WHERE kind = 'produced'
    UNION ALL
    SELECT 'part_of', 'workflow_execution', parent, kind, id FROM record WHERE kind = 'job_execution'
    UNION ALL
    SELECT 'runs', 'workflow_version', parent || '/' || json_extract(body, '$.version'), kind, id FROM record WHERE kind = 'workflow_execution'
    UNION ALL
    SELECT 'version_of', 'model', parent, kind, id FROM record WHERE kind = 'model_version'
    UNION ALL
    SELECT 'version_of', 'dataset', parent, kind, id FROM record WHERE kind = 'dataset_version'
    UNION ALL
    SELECT 'rerun_of', kind, json_extract(body, '$.rerun_of'), kind, id FROM record
    WHERE kind = 'workflow_execution' AND json_extract(body, '$.rerun_of') IS NOT NULL
    UNION ALL
    SELECT 'triggered_by', 'event', CAST(e.value AS TEXT), r.kind, r.id FROM record r, json_each(r.body, '$.cause.events') e
    WHERE r.kind = 'workflow_execution'
    UNION ALL
    -- A job that starts together with its workflow execution is part of that, and no event fired it.
    SELECT 'triggered_by', 'event', CAST(e.value AS TEXT), r.kind, r.id FROM record r, json_each(r.body, '$.cause.events') e
    WHERE r.kind = 'job_execution' AND (json_extract(r.body, '$.cause.rule') IS NOT NULL OR json_extract(r.body, '$.cause.schedule') IS NOT NULL)
    UNION ALL
    -- An attempt is written 120.0-1: the first attempt of job execution 120.0.
    SELECT 'published_by', 'job_execution', substr(attempt, 1, instr(attempt, '-') - 1), 'event', CAST(offset AS TEXT)
    FROM (SELECT offset, json_extract(context, '$.attempt') AS attempt FROM event WHERE context IS NOT NULL) WHERE attempt IS NOT NULL
));
