"""How long do other metadata stores take on SQLite for what `cargo xtask bench metadata` measures here?

    python3 -m venv venv && venv/bin/pip install mlflow-skinny sqlalchemy alembic pandas
    venv/bin/pip install ml-metadata        # where there is a wheel for this Python
    venv/bin/python benches/compare/metadata.py [FOLDER]

Runs our own section first, then theirs, in the same place on the disk. What is not installed is named and left out.
"""

import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

RUNS = 30_000
METRICS = 50
ROUNDS = 21


def row(path, once, rounds=ROUNDS):
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        once()
        times.append(time.perf_counter() - begun)
    times.sort()
    print(f"| {path} | {statistics.median(times) * 1e3:.2f} ms (p99 {times[-1] * 1e3:.2f} ms) |", flush=True)


def number(run, metric):
    """As the benchmark spreads them."""
    return (run * 2_654_435_761 + metric * 97) % 10_007 / 10_007


def mlflow(folder):
    from mlflow.entities import Metric
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path = os.path.join(folder, "mlflow.db")
    store = SqlAlchemyStore(f"sqlite:///{path}", os.path.join(folder, "artifacts"))
    experiment = store.create_experiment("bench")
    now = int(time.time() * 1000)

    def create():
        return store.create_run(experiment, "me", now, [], "run").info.run_id

    row("create a run", create)
    run = create()
    step = 0

    def log(names, values):
        nonlocal step
        metrics = []
        for i in range(values):
            metrics.append(Metric(names[i % len(names)], float(i), now, step))
            step += 1
        store.log_batch(run, metrics, [], [])

    for n in (10, 500):
        row(f"record {n} values of one metric", lambda: log(["auc"], n))
        row(f"record one value each of {n} metrics", lambda: log([f"m{i}" for i in range(n)], n))

    # Through its own interface this would take hours.
    template = sqlite3.connect(path)
    columns = [name for _, name, *_ in template.execute("PRAGMA table_info(runs)")]
    values = dict(zip(columns, template.execute("SELECT * FROM runs WHERE run_uuid=?", (run,)).fetchone()))
    def runs():
        for n in range(RUNS):
            values.update(run_uuid=f"r{n:031}", name=f"train-{n}", start_time=n)
            yield tuple(values[name] for name in columns)
    template.executemany(f"INSERT INTO runs({','.join(columns)}) VALUES({','.join('?' * len(columns))})", runs())
    pairs = lambda: ((n, m) for n in range(RUNS) for m in range(METRICS))
    template.executemany(
        "INSERT INTO latest_metrics(key,value,timestamp,step,is_nan,run_uuid) VALUES(?,?,?,0,0,?)",
        ((f"m{m}", number(n, m), now, f"r{n:031}") for n, m in pairs()),
    )
    template.executemany(
        "INSERT INTO params(key,value,run_uuid) VALUES('layers',?,?)",
        ((str(n % 7), f"r{n:031}") for n in range(RUNS)),
    )
    template.commit()
    template.close()
    from mlflow.entities import ViewType

    of = f"search {RUNS} executions x {METRICS} metrics"
    for text, order in (
        ("metrics.m7 > 0.9", ["metrics.m7 DESC"]),
        ("metrics.m7 > 0.5 and metrics.m20 < 0.5 and params.layers = '3'", ["attributes.start_time DESC"]),
    ):
        def search():
            found = store.search_runs([experiment], text, ViewType.ACTIVE_ONLY, max_results=100, order_by=order)
            assert len(found) == 100
        row(f"{of}: {text} order by {order[0]} limit 100", search, rounds=5)


def ml_metadata(folder):
    from ml_metadata.metadata_store import metadata_store
    from ml_metadata.proto import metadata_store_pb2 as pb

    config = pb.ConnectionConfig()
    config.sqlite.filename_uri = os.path.join(folder, "mlmd.db")
    config.sqlite.connection_mode = pb.SqliteMetadataSourceConfig.READWRITE_OPENCREATE
    store = metadata_store.MetadataStore(config)
    kind = pb.ExecutionType(name="train", properties={"rate": pb.DOUBLE})
    type_id = store.put_execution_type(kind)
    row("create an execution", lambda: store.put_executions([pb.Execution(type_id=type_id)]))
    metric = pb.ArtifactType(name="metric", properties={"value": pb.DOUBLE})
    metric_id = store.put_artifact_type(metric)
    for n in (10, 500):
        made = [pb.Artifact(type_id=metric_id, properties={"value": pb.Value(double_value=i)}) for i in range(n)]
        row(f"record one value each of {n} metrics (as artifacts)", lambda: store.put_artifacts(made))


def main():
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    subprocess.run(["cargo", "xtask", "bench", "metadata"], cwd=root, check=True)
    where = sys.argv[1] if len(sys.argv) > 1 else os.path.join(root, "target", "tmp")
    os.makedirs(where, exist_ok=True)
    for name, run in (("MLflow", mlflow), ("ML Metadata", ml_metadata)):
        print(f"\n| {name}, SQLite with its own settings | time |\n|---|---|")
        try:
            with tempfile.TemporaryDirectory(dir=where) as folder:
                run(folder)
        except ImportError as error:
            print(f"| not installed: {error} | |")


if __name__ == "__main__":
    main()
