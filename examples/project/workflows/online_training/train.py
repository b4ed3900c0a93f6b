"""Fits a straight line through the temperatures of the year, leaves the model as an artifact, and says in an event what it is."""

import argparse
import json
import os

import temperatures

parser = argparse.ArgumentParser()
parser.add_argument("--rows", required=True)
rows = temperatures.read(os.path.join(os.environ["PROJECT_DIR"], parser.parse_args().rows))
n = len(rows)
mean_x, mean_y = sum(x for x, _ in rows) / n, sum(y for _, y in rows) / n
slope = sum((x - mean_x) * (y - mean_y) for x, y in rows) / sum((x - mean_x) ** 2 for x, _ in rows)
model = {"slope": slope, "intercept": mean_y - slope * mean_x, "trained_by": os.environ["AIFLOW_JOB_EXECUTION"]}
with open(os.path.join(os.environ["AIFLOW_OUTPUTS"], "temperatures.json"), "w") as file:
    json.dump(model, file)
with open(os.environ["AIFLOW_EVENTS"], "a") as events:
    events.write(json.dumps({"key": "model_trained", "value": {"model": model}}) + "\n")
