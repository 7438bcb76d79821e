"""What was measured: one JSON object a line, appended as it comes, so that a run can go on."""

import json
import os
import statistics

# What must be the same for a run to go on with results.
KEY = ("isptar", "machine", "quick")


class Results:
    """The lines of a file, and what they say together."""

    def __init__(self, path, header):
        self.path = path
        self.lines = []
        if os.path.exists(path):
            self.lines = read(path)
        if self.lines and not self.go_on(header):
            os.replace(path, path + ".old")
            print(f"{path}: of another program or machine; now {path}.old")
            self.lines = []
        if not self.lines:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            self.add("header", **header)

    def go_on(self, header):
        """Returns whether the lines are of the same program, on the same machine."""
        return all(self.header.get(key) == header[key] for key in KEY if key in header)

    @property
    def header(self):
        return self.lines[0]

    def add(self, kind, **fields):
        """Appends a line."""
        line = {"type": kind, **fields}
        self.lines.append(line)
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def find(self, kind, **fields):
        """Yields the lines of a kind that have these fields."""
        wanted = fields.items()
        for line in self.lines:
            if line["type"] == kind and all(line.get(key) == value for key, value in wanted):
                yield line

    def has(self, kind, **fields):
        return any(True for _ in self.find(kind, **fields))

    def summary(self, corpus, operation, row):
        """Returns what the runs of a row were together; nothing when there was none that counts."""
        where = {"corpus": corpus, "operation": operation, "row": row}
        if self.has("failed", **where):
            return None
        runs = list(self.find("sample", **where))
        timed = [run for run in runs if run["timed"]]
        if not timed:
            return None
        return Summary(
            runs=len(timed),
            rounds=len({run["round"] for run in timed}),
            wall=statistics.median(run["wall"] for run in timed),
            least=min(run["wall"] for run in timed),
            cpu=statistics.median(run["cpu"] for run in timed),
            memory=max((run["memory"] for run in runs), default=0),
            size=max((run["size"] for run in runs), default=0),
        )


class Summary:
    """Medians of the timed runs: seconds, bytes."""

    def __init__(self, runs, rounds, wall, least, cpu, memory, size):
        self.runs, self.rounds = runs, rounds
        self.wall, self.least, self.cpu = wall, least, cpu
        self.memory, self.size = memory, size


def read(path):
    """Reads the lines of a file; the last may be cut, by a run that was killed."""
    lines = []
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                lines.append(json.loads(line))
            except ValueError:
                break
    with open(path, "w", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return lines
