"""What the twins of the later notebooks print: tables, bounds, and the check of an exercise before it is solved."""

import json


def table(rows, digits=4):
    """The text of a table, as words: the names of the columns, then each row."""
    print(*rows[0])
    for row in rows:
        print(*(f"{value:.{digits}f}" if isinstance(value, float) else value for value in row.values()))


def within(value, low=None, high=None):
    """The bounds of a number that another processor's rounding may send another way; this program's own is inside."""
    assert (low is None or value > low) and (high is None or value < high), f"{value} is not within {low}, {high}"
    if high is None:
        return f"{{above {low}}}"
    return f"{{below {high}}}" if low is None else f"{{{low} to {high}}}"


def not_yet(call, unsolved, wanted, because):
    """What the check of an exercise prints before it is solved: the twin computes what is wanted."""
    print(f"not yet: {call}\n  is {written(unsolved)}\n  should be {written(wanted)}\n  because {because}")


def written(value):
    """A value as TypeScript's check writes it."""
    if value is None:
        return "undefined"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list):
        return f"[{', '.join(map(written, value))}]"
    return json.dumps(value)
