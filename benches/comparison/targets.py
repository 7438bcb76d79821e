"""What isptar is meant to reach, and whether the results do."""

from dataclasses import dataclass

KB = 1000
MB = 1_000_000

CREATE = {"sources": 0.45, "binaries": 0.35, "logs": 0.50, "media": 0.10, "many": 0.60}
SIZE = {"binaries": 1.00, "logs": 1.00, "media": 1.02, "mixed": 1.03, "sources": 1.18}
SIZE_GROUPS = {"mixed": 1.01, "sources": 1.06, "many": 1.18}
EXTRACT = {"sources": 0.50, "binaries": 0.50, "logs": 0.50, "media": 0.50, "many": 0.65, "mixed": 0.50}
VERIFY = dict.fromkeys(EXTRACT, 0.60)
JOBS = ("create", "extract", "verify")


@dataclass
class Target:
    """A value that should be at most a limit."""

    what: str
    corpus: str
    value: float | None
    limit: float
    unit: str = ""
    strict: bool = False

    def verdict(self):
        if self.value is None:
            return "not measured"
        met = self.value < self.limit if self.strict else self.value <= self.limit
        return "met" if met else "**missed**"

    def shown(self):
        if self.value is None:
            return "-"
        return f"{self.value:.3f}" if not self.unit or self.unit == "s" else f"{self.value:.1f}"


class Targets:
    """All targets, of some results."""

    def __init__(self, results):
        self.results = results

    def all(self):
        """Yields them in the order of the table."""
        yield from self.creating()
        yield from self.sizes()
        yield from self.restoring()
        yield from self.finding()
        yield from self.memory()
        for job in JOBS:
            value = self.ratio(job, "sources", "isptar", "isptar-t1")
            yield Target(f"{job}, wall with 2 threads / with 1", "sources", value, 0.55)
        yield Target(
            "create, CPU / libdeflate on the same files", "sources", self.processor(), 1.25
        )

    def creating(self):
        against = "create, wall / tar \\| pigz -6 -p2"
        for corpus, limit in CREATE.items():
            yield Target(against, corpus, self.ratio("create", corpus, "isptar", "pigz"), limit)
        value = self.ratio("create", "many", "isptar-group", "pigz")
        yield Target("create --group-size 64K, wall / tar \\| pigz -6 -p2", "many", value, 0.50)
        for corpus in ("sources", "mixed"):
            yield self.quickest(corpus)
        value = self.ratio("create", "sources", "isptar-1", "igzip")
        yield Target("create --level 1, wall / tar \\| igzip -1", "sources", value, 1.0)

    def quickest(self, corpus):
        """Against the quickest whose archive is not bigger; when all are bigger, of all."""
        mine = self.results.summary(corpus, "create", "isptar")
        rivals = {
            key: self.results.summary(corpus, "create", key)
            for key in ("libdeflate", "squashfs", "squashfs-6")
        }
        rivals = {key: rival for key, rival in rivals.items() if rival}
        what = "create, wall / quickest of tar \\| libdeflate-gzip -6 and mksquashfs"
        if not mine or not rivals:
            return Target(what, corpus, None, 0.50)
        no_bigger = {key: rival for key, rival in rivals.items() if rival.size <= mine.size}
        candidates = no_bigger or rivals
        best = min(candidates, key=lambda key: candidates[key].wall)
        return Target(f"{what} ({best})", corpus, mine.wall / candidates[best].wall, 0.50)

    def sizes(self):
        for corpus, limit in SIZE.items():
            yield Target("size / tar \\| gzip -6", corpus, self.size(corpus, "isptar"), limit)
        for corpus, limit in SIZE_GROUPS.items():
            value = self.size(corpus, "isptar-group")
            yield Target("size, --group-size 64K / tar \\| gzip -6", corpus, value, limit)

    def restoring(self):
        for corpus, limit in EXTRACT.items():
            value = self.ratio("extract", corpus, "isptar", "pigz")
            yield Target("extract, wall / pigz -dc \\| tar x", corpus, value, limit)
        value = self.ratio("extract", "sources", "isptar", "unsquashfs")
        yield Target("extract, wall / unsquashfs", "sources", value, 0.75)
        for corpus, limit in VERIFY.items():
            value = self.ratio("verify", corpus, "isptar", "pigz")
            yield Target("verify, wall / pigz -t", corpus, value, limit)

    def finding(self):
        value = self.ratio("list", "many", "isptar", "zip")
        yield Target("ls of all, wall / zipinfo -1", "many", value, 1.0, strict=True)
        value = self.ratio("list", "many", "isptar", "unsquashfs")
        yield Target("ls of all, wall / unsquashfs -l", "many", value, 1.0)
        yield Target("ls of all, wall", "many", self.wall("list"), 0.15, "s")
        for operation, what in (("directory", "ls of a directory"), ("one", "cat of a file")):
            reads = next(self.results.find("reads", operation=operation, row="isptar"), {})
            read = reads.get("bytes")
            yield Target(f"{what}, wall", "many", self.wall(operation), 0.005, "s")
            yield Target(f"{what}, reads of the archive", "many", reads.get("reads"), 3, "reads")
            kilobytes = None if read is None else read / KB
            yield Target(f"{what}, read of the archive", "many", kilobytes, 400, "KB")

    def memory(self):
        for job in JOBS:
            peaks = {
                corpus: summary.memory
                for corpus in EXTRACT
                if (summary := self.results.summary(corpus, job, "isptar"))
            }
            most = max(peaks, key=peaks.get, default=None)
            value = peaks[most] / MB if most else None
            yield Target(f"{job}, memory", most or "-", value, 64, "MB")
        for job in JOBS:
            many = self.results.summary("many", job, "isptar")
            tenth = self.results.summary("tenth", job, "isptar")
            value = many.memory / tenth.memory if many and tenth and tenth.memory else None
            what = f"{job}, memory of 400,000 files / of 40,000"
            yield Target(what, "many", value, 1.10)

    # What they are made of.

    def ratio(self, operation, corpus, mine, rival):
        mine = self.results.summary(corpus, operation, mine)
        rival = self.results.summary(corpus, operation, rival)
        return mine.wall / rival.wall if mine and rival else None

    def size(self, corpus, row):
        mine = self.results.summary(corpus, "create", row)
        rival = self.results.summary(corpus, "create", "gzip")
        return mine.size / rival.size if mine and rival else None

    def wall(self, operation):
        summary = self.results.summary("many", operation, "isptar")
        return summary.wall if summary else None

    def processor(self):
        mine = self.results.summary("sources", "create", "isptar")
        floor = self.results.summary("sources", "floor", "deflate")
        return mine.cpu / floor.cpu if mine and floor else None
