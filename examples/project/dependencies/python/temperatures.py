"""Reads the temperatures of days."""


def read(path):
    """Pairs of day and temperature."""
    with open(path) as file:
        next(file)
        return [(int(day), float(temperature)) for day, temperature in (line.split(",") for line in file)]
