"""Tables of results: Markdown for people, tab separated for programs."""

import os
import re

import tools
from corpora import EXTRA, NAMES
from targets import Targets

MB = 1_000_000

# What the short table shows: rows of OPERATIONS by their keys, in the order of its columns.
SHORT = {
    "create": ["isptar", "pigz", "libdeflate", "gzip", "squashfs", "zip", "7z", "borg", "restic"],
    "extract": ["isptar", "pigz", "", "tar", "unsquashfs", "unzip", "7z", "borg", "restic"],
    "verify": ["isptar", "pigz", "", "gzip", "", "zip", "7z", "borg", "restic"],
    "list": ["isptar", "", "", "tar", "unsquashfs", "zip", "7z", "borg", "restic"],
    "one": ["isptar", "", "", "tar", "unsquashfs", "zip", "7z", "borg", "restic"],
}
SHORT_HEAD = [
    "isptar",
    "tar, pigz -p2",
    "tar, libdeflate",
    "tar, gzip",
    "squashfs",
    "zip",
    "7z -mx1",
    "borg",
    "restic",
]


def table(head, lines):
    """Returns a table in Markdown."""
    rows = [head, ["---"] + ["---:"] * (len(head) - 1), *lines]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows) + "\n"


class Report:
    """Writes down results."""

    def __init__(self, results):
        self.results = results
        self.names = [name for name in NAMES if results.has("corpus", name=name)]

    # For people.

    def long(self):
        """Returns everything, in Markdown."""
        parts = [self.about(), self.corpora(), self.targets()]
        for operation in tools.OPERATIONS:
            parts.append(self.operation(operation))
        parts.append(self.reads())
        parts.append(self.left_out())
        return "\n".join(part for part in parts if part)

    def short(self):
        """Returns one table of walls, and what has been measured where."""
        lines = []
        for operation, keys in SHORT.items():
            for corpus in self.names:
                cells = [self.short_cell(corpus, operation, key) for key in keys]
                if cells[0] != "-":
                    lines.append([f"{tools.TITLES[operation]}: {corpus}", *cells])
        header = self.results.header
        intro = (
            f"Seconds, medians, measured {header['date']} on {header['machine']}, all files in memory "
            f"(tmpfs); {self.rounds_text()}. [benches/README.md](benches/README.md) has the rest: what "
            "the trees are, processor time, memory, sizes, other tools, and how to measure it yourself.\n"
        )
        return intro + "\n" + table(["", *SHORT_HEAD], lines)

    def short_cell(self, corpus, operation, key):
        summary = key and self.results.summary(corpus, operation, key)
        return seconds(summary.wall) if summary else "-"

    def rounds_text(self):
        rounds = {
            summary.rounds
            for name in self.names
            if (summary := self.results.summary(name, "create", "isptar"))
        }
        count = min(rounds, default=0)
        return f"{count} alternating runs" if count != 1 else "1 run"

    def about(self):
        header = self.results.header
        versions = ", ".join(f"{name} {version}" for name, version in header["versions"].items())
        loads = [line["load"] for line in self.results.find("sample")]
        load = f"{min(loads):.1f} to {max(loads):.1f}" if loads else "unknown"
        return (
            f"Measured {header['date']} on {header['machine']}; {self.rounds_text()}, load "
            f"average {load}.\n\nVersions: {versions}.\n"
        )

    def corpora(self):
        lines = [
            [
                corpus["name"],
                f"{corpus['files']:,}",
                f"{corpus['directories']:,}",
                f"{corpus['links']:,}",
                f"{corpus['bytes']:,}",
            ]
            for name in self.names + EXTRA
            for corpus in self.results.find("corpus", name=name)
        ]
        return "### Trees\n\n" + table(["", "files", "directories", "links", "bytes"], lines)

    def targets(self):
        lines = [
            [
                target.what,
                target.corpus,
                target.shown(),
                f"{target.limit:g} {target.unit}".strip(),
                target.verdict(),
            ]
            for target in Targets(self.results).all()
        ]
        return "### Targets\n\n" + table(["", "tree", "measured", "at most", ""], lines)

    def operation(self, operation):
        """Returns the tables of an operation: a tool a line, a corpus a column."""
        names = [name for name in self.names if self.have(name, operation)]
        if not names:
            return ""
        title = tools.TITLES[operation]
        ratio = "; in brackets what isptar takes of that" if operation != "floor" else ""
        parts = [
            f"### {title}\n",
            f"Wall, seconds{ratio}:\n",
            self.grid(operation, names, self.wall),
            "Processor time of all cores, seconds:\n",
            self.grid(operation, names, lambda summary, _: seconds(summary.cpu)),
            "Memory, MB:\n",
            self.grid(operation, names, lambda summary, _: f"{summary.memory / MB:.0f}"),
        ]
        if operation == "create":
            parts.append("Size, MB; in brackets what isptar's is of that:\n")
            parts.append(self.grid(operation, names, self.size))
        return "\n".join(parts)

    def have(self, corpus, operation):
        return self.results.has("sample", corpus=corpus, operation=operation)

    def grid(self, operation, names, cell):
        lines = []
        for row in tools.OPERATIONS[operation]:
            cells = [self.cell(name, operation, row.key, cell) for name in names]
            if any(cell != "-" for cell in cells):
                lines.append([row.label.replace("|", "\\|").replace("{n}", self.cores()), *cells])
        return table(["", *names], lines)

    def cores(self):
        return str(self.results.header["cores"])

    def cell(self, corpus, operation, key, cell):
        if self.results.has("failed", corpus=corpus, operation=operation, row=key):
            return "failed"
        summary = self.results.summary(corpus, operation, key)
        mine = self.results.summary(corpus, operation, "isptar")
        return cell(summary, mine) if summary else "-"

    def wall(self, summary, mine):
        shown = seconds(summary.wall)
        if not mine or summary.wall == mine.wall:
            return shown
        return f"{shown} ({mine.wall / summary.wall:.2f})"

    def size(self, summary, mine):
        shown = f"{summary.size / MB:.2f}"
        if not mine or summary.size == mine.size:
            return shown
        return f"{shown} ({mine.size / summary.size:.3f})"

    def reads(self):
        lines = [
            [tools.TITLES[line["operation"]], line["row"], str(line["reads"]), f"{line['bytes']:,}"]
            for line in self.results.find("reads")
            if line["operation"] != "list"
        ]
        if not lines:
            return ""
        return "### Reads of the archive\n\n" + table(["", "", "reads", "bytes"], lines)

    def left_out(self):
        lines = sorted({f"- {line['row']}: {line['why']}" for line in self.results.find("skipped")})
        failed = [
            f"- {line['corpus']}, {line['operation']}, {line['row']}: failed: "
            + re.sub(r"\s+", " ", line["why"])
            for line in self.results.find("failed")
        ]
        if not lines and not failed:
            return ""
        return "### Left out\n\n" + "\n".join(lines + failed) + "\n"

    # For programs.

    def tsv(self):
        """Returns one line for each row in each corpus."""
        head = "corpus operation tool runs wall_median wall_min cpu_median memory size isptar_ratio"
        lines = [head.split()]
        for corpus in self.names + EXTRA:
            for operation, rows in tools.OPERATIONS.items():
                for row in rows:
                    summary = self.results.summary(corpus, operation, row.key)
                    if summary:
                        lines.append(self.tsv_line(corpus, operation, row, summary))
        return "".join("\t".join(line) + "\n" for line in lines)

    def tsv_line(self, corpus, operation, row, summary):
        mine = self.results.summary(corpus, operation, "isptar")
        return [
            corpus,
            operation,
            row.key,
            str(summary.runs),
            f"{summary.wall:.6f}",
            f"{summary.least:.6f}",
            f"{summary.cpu:.6f}",
            str(summary.memory),
            str(summary.size),
            f"{mine.wall / summary.wall:.4f}" if mine else "",
        ]


def seconds(value):
    """Returns seconds with about three digits that mean something."""
    if value < 0.1:
        return f"{value:.4f}"
    return f"{value:.3f}" if value < 1 else f"{value:.2f}"


def fill(path, text):
    """Puts a text between the markers of a file."""
    begin, end = "<!-- compare: begin -->", "<!-- compare: end -->"
    with open(path, encoding="utf-8") as file:
        before, rest = file.read().split(begin, 1)
    after = rest.split(end, 1)[1]
    with open(path + ".new", "w", encoding="utf-8") as file:
        file.write(f"{before}{begin}\n{text.strip()}\n{end}{after}")
    os.replace(path + ".new", path)
