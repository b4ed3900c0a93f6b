"""Predicts the temperature of one day after the other, with the model that it was started with, until it is stopped."""

import json
import os
import time

model = json.loads(os.environ["AIFLOW_PARAMS"])["model"]
day = 0
while True:
    day += 1
    value = {"day": day, "temperature": round(model["intercept"] + model["slope"] * day, 2), "model": model["trained_by"]}
    with open(os.environ["AIFLOW_EVENTS"], "a") as events:
        events.write(json.dumps({"key": "predicted", "value": value}) + "\n")
    time.sleep(0.2)
