"""Predicts the temperature of one day after the other, with the model as it was when it started, until it is stopped."""

import json
import os
import time

with open(os.path.join(os.environ["AIFLOW_INPUTS"], "temperatures.json")) as file:
    model = json.load(file)
day = 0
while True:
    day += 1
    value = {"day": day, "temperature": round(model["intercept"] + model["slope"] * day, 2), "model": model["trained_by"]}
    with open(os.environ["AIFLOW_EVENTS"], "a") as events:
        events.write(json.dumps({"key": "predicted", "value": value}) + "\n")
    time.sleep(0.2)
