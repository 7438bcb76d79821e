"""Runs every row of every operation in every corpus, in turn, and checks what comes out."""

import filecmp
import glob
import os
import re
import shlex
import subprocess

import measure
import tools
from corpora import Corpora, remove

# Runs shorter than this are repeated within their round, so that a median means something.
SHORT, REPEATS, REPEATED_FOR = 0.1, 20, 0.5

# What reading an archive can be done by.
READS = "read,readv,pread64,preadv,preadv2,mmap,sendfile,splice,copy_file_range"


class Comparison:
    """One run of `compare`."""

    def __init__(self, options, results):
        self.options = options
        self.results = results
        self.work = options.work
        self.target = os.path.join(self.work, "target")
        self.output = os.path.join(self.work, "output")
        self.archives = os.path.join(self.work, "archives")
        self.corpora = Corpora(os.path.join(self.work, "corpora"), options.cache, options.quick)
        self.environment = environment(self.work, options.venv)
        self.failures = 0

    def run(self):
        """Does all that was asked for and is not in the results yet."""
        names = list(self.options.corpora)
        if "many" in names:
            names.append("tenth")
        for name in names:
            operations = [op for op in self.options.operations if self.todo(name, op)]
            if operations:
                self.corpus(name, operations)
        return self.failures

    def todo(self, corpus, operation):
        """Returns whether something of an operation was not measured yet."""
        rows = self.possible(tools.rows(operation, corpus))
        return any(
            not self.done(corpus, operation, row, number)
            for row in rows
            for number in self.rounds(row)
        )

    def possible(self, rows):
        """Returns the rows whose programs and options are there."""
        wanted = self.options.tools
        chosen = [row for row in rows if not wanted or row.key in wanted]
        return [row for row in chosen if not self.options.obstacle(row, self.environment)]

    def rounds(self, row):
        """Returns the numbers of the rounds of a row. Round 0 is not timed: it warms up, and its
        memory is watched. A slow row has no such round, its first one is watched."""
        if row.slow or self.options.quick:
            most = self.options.slow_rounds if row.slow else self.options.rounds
            return range(1, most + 1)
        return range(self.options.rounds + 1)

    def done(self, corpus, operation, row, number):
        where = {"corpus": corpus, "operation": operation, "row": row.key}
        return self.results.has("failed", **where) or self.results.has(
            "sample", **where, round=number
        )

    def corpus(self, name, operations):
        """Builds a corpus, does operations on it, and removes it."""
        print(f"== {name}: building", flush=True)
        corpus = self.corpora.build(name)
        if not self.results.has("corpus", name=name):
            self.results.add("corpus", name=name, **corpus.described())
        print(f"   {corpus.files:,} files, {corpus.bytes:,} bytes", flush=True)
        os.makedirs(self.archives, exist_ok=True)
        for operation in operations:
            self.operation(corpus, operation)
        self.unmount()
        remove(self.archives)
        remove(corpus.root)

    def operation(self, corpus, operation):
        """Runs all rows of an operation in turn: each round begins with another one."""
        rows = self.possible(tools.rows(operation, corpus.name))
        for number in range(max(self.options.rounds, self.options.slow_rounds) + 1):
            start = number % max(1, len(rows))
            for row in rows[start:] + rows[:start]:
                due = number in self.rounds(row)
                if due and not self.done(corpus.name, operation, row, number):
                    self.measure(corpus, operation, row, number)

    def measure(self, corpus, operation, row, number):
        """Does one row once, with repetitions when it is short, and notes what it took."""
        where = {"corpus": corpus.name, "operation": operation, "row": row.key}
        watched = number == 0 or (number == 1 and 0 not in self.rounds(row))
        try:
            sample = self.attempt(corpus, operation, row, watched)
            samples = [sample]
            if number > 0 and sample.wall < SHORT and not self.options.quick:
                samples += self.repeat(corpus, operation, row, sample.wall)
            if watched and "isptar" in row.key and operation in tools.ONLY_MANY:
                self.count_reads(corpus, operation, row)
        except Wrong as wrong:
            self.failures += 1
            print(f"   {operation} {row.key}: FAILED: {wrong}", flush=True)
            self.results.add("failed", **where, round=number, why=str(wrong))
            return
        for sample in samples:
            self.results.add(
                "sample",
                **where,
                round=number,
                timed=number > 0,
                wall=sample.wall,
                cpu=sample.cpu,
                memory=sample.memory,
                size=sample.size,
                load=os.getloadavg()[0],
            )
        print(
            f"   {operation} {row.key} {number}: {sample.wall:.3f} s, "
            f"{sample.cpu:.3f} s of CPU, {samples[0].memory / 1e6:.1f} MB",
            flush=True,
        )

    def repeat(self, corpus, operation, row, wall):
        """Does a short run some more times, when that takes no time to prepare and check."""
        if operation in ("create", "extract"):
            return []
        repeats = min(REPEATS, int(REPEATED_FOR / max(wall, 1e-4)))
        return [self.attempt(corpus, operation, row, False) for _ in range(repeats - 1)]

    def attempt(self, corpus, operation, row, watched):
        """Runs a row once and checks the result."""
        run = {"create": self.create, "extract": self.extract, "floor": self.floor}
        return run.get(operation, self.read)(corpus, operation, row, watched)

    # The operations.

    def create(self, corpus, _, row, watched):
        sample = self.make(corpus, row, watched)
        read_later = {other.archive for other in tools.EXTRACT}
        if watched and not ("extract" in self.options.operations and row.key in read_later):
            self.check_archive(corpus, row)
        if row.key not in read_later:
            remove(self.archive(row))
        return sample

    def make(self, corpus, row, watched=False):
        """Makes an archive, where nothing stands before."""
        remove(self.archive(row))
        self.prepare(row)
        sample = self.execute(row, row.command, corpus.root, corpus, watched)
        sample.size = size(self.archive(row))
        return sample

    def prepare(self, row):
        if row.prepare:
            # A new repository, and nothing in a cache of an old one.
            remove(os.path.join(self.environment["HOME"], row.key))
            self.execute(row, row.prepare, self.work, None, False)

    def check_archive(self, corpus, row):
        """Restores an archive by the row that is named for that, and compares."""
        reader = next(other for other in tools.EXTRACT if other.key == row.archive)
        if not tools.missing(reader, self.environment["PATH"]):
            self.empty_target()
            self.execute(row, reader.command, self.target, corpus, False)
            self.compare(corpus, reader)

    def extract(self, corpus, _, row, watched):
        self.ensure_archive(corpus, row)
        self.empty_target()
        sample = self.execute(row, row.command, self.target, corpus, watched)
        self.compare(corpus, row)
        return sample

    def floor(self, corpus, _, row, watched):
        self.empty_target()
        keep = row.key == "deflate"
        output = self.output if keep else os.devnull
        sample = self.execute(row, row.command, corpus.root, corpus, watched, output)
        if keep:
            with open(self.output, encoding="ascii") as output:
                _, sample.size, seconds = output.read().split()
            # The processor time of the compressing alone.
            sample.size, sample.cpu = int(sample.size), float(seconds)
        if row.key == "cp":
            self.compare(corpus, row)
        return sample

    def read(self, corpus, operation, row, watched):
        """Verifies, lists, or reads one file. What is listed is kept and counted in the round that
        is watched, a file that is read is always compared."""
        self.ensure_archive(corpus, row)
        self.empty_target()
        if row.prepare:
            self.execute(row, row.prepare, self.work, corpus, False)
        output = self.output if operation == "one" or watched else os.devnull
        sample = self.execute(row, row.command, self.target, corpus, watched, output)
        if operation == "one":
            if not filecmp.cmp(self.output, os.path.join(corpus.root, corpus.one), shallow=False):
                raise Wrong("the file that was read is another")
        elif operation != "verify" and watched:
            self.check_names(corpus, operation)
        return sample

    def ensure_archive(self, corpus, row):
        """Makes the archive that a row reads, unless it is there."""
        maker = self.maker(row)
        if not os.path.lexists(self.archive(maker)):
            why = self.options.obstacle(maker, self.environment)
            if why:
                raise Wrong(f"no archive to read: {why}")
            self.make(corpus, maker)

    def maker(self, row):
        return next(other for other in tools.CREATE if other.key == row.archive)

    # What they are made of.

    def execute(self, row, command, directory, corpus, watched, output=os.devnull):
        """Runs a command of a row, which must succeed."""
        command = self.command(row, command, corpus)
        sample = measure.run(command, directory, self.environment, output, watched)
        sample.size = 0
        if sample.status != 0:
            if ".mnt" in command:
                self.unmount()
            raise Wrong(f"status {sample.status}: {sample.error[-300:]}")
        return sample

    def command(self, row, command, corpus):
        maker = row if row in tools.CREATE else None
        if maker is None and row.archive:
            maker = self.maker(row)
        names = {
            "isptar": self.options.isptar,
            "helper": self.options.helper,
            "threads": self.options.threads_option(command),
            "n": str(self.options.cores),
            "T": self.target,
        }
        if maker:
            names["A"] = self.archive(maker).removesuffix(maker.appended)
        if corpus:
            names["ONE"] = shlex.quote(corpus.one)
            names["DIR"] = shlex.quote(corpus.one_directory)
        return re.sub(r"\{(\w+)\}", lambda found: names[found[1]], command)

    def archive(self, row):
        return os.path.join(self.archives, row.key + row.suffix + row.appended)

    def empty_target(self):
        remove(self.target)
        os.makedirs(self.target)

    def compare(self, corpus, row):
        """Compares what was restored with the source: names, kinds, contents, link targets, and
        what the tool keeps of modes and times."""
        if row.brings:
            remove(os.path.join(self.target, row.brings))
        command = [self.options.helper, "same", corpus.root, self.target, "--times", row.times]
        if not row.modes:
            command.append("--no-modes")
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        remove(self.target)
        if done.returncode != 0:
            raise Wrong(f"not restored as it was: {done.stderr.strip()}")

    def check_names(self, corpus, operation):
        """Counts the lines of a list: all that there is, and a heading at most."""
        wanted = corpus.entries
        if operation == "directory":
            directory = os.path.join(corpus.root, corpus.one_directory)
            wanted = len(os.listdir(directory))
        with open(self.output, "rb") as output:
            lines = sum(1 for _ in output)
        # Some leave directories out, some have headings.
        least = wanted if operation == "directory" else corpus.files
        if not least <= lines <= wanted + 30:
            raise Wrong(f"{lines} lines for {wanted} names")

    def count_reads(self, corpus, operation, row):
        """Counts, by strace, how often and how much of the archive is read."""
        if tools.missing(tools.Row("", "", "", ("strace",)), self.environment["PATH"]):
            return
        trace = os.path.join(self.work, "trace")
        command = self.command(row, row.command, corpus)
        measure.run(
            f"strace -f -y -e trace={READS} -o {trace} {command}", self.work, self.environment
        )
        archive = self.archive(self.maker(row))
        with open(trace, encoding="utf-8", errors="replace") as lines:
            sizes = [bytes_read(line) for line in lines if f"<{archive}>" in line]
        remove(trace)
        self.results.add(
            "reads",
            corpus=corpus.name,
            operation=operation,
            row=row.key,
            reads=len(sizes),
            bytes=sum(sizes),
        )

    def unmount(self):
        """Takes away what a failed ratarmount left."""
        for mounted in glob.glob(os.path.join(self.archives, "*.mnt")):
            if os.path.ismount(mounted):
                subprocess.run(["fusermount", "-uz", mounted], check=False)

    def clean(self):
        """Removes all that was made."""
        self.unmount()
        remove(self.work)


class Wrong(Exception):
    """A tool failed, or its result is not what it should be."""


def bytes_read(line):
    """Returns how much a traced call read, or mapped."""
    mapped = re.search(r"mmap\([^,]+, (\d+)", line)
    if mapped:
        return int(mapped[1])
    result = re.search(r"= (\d+)$", line.strip())
    return int(result[1]) if result else 0


def size(path):
    """Returns the bytes of a file, or of all files of a repository."""
    if os.path.isfile(path):
        return os.path.getsize(path)
    return sum(
        os.path.getsize(os.path.join(directory, file))
        for directory, _, files in os.walk(path)
        for file in files
    )


def environment(work, venv):
    """Returns the environment of all tools: nothing of who runs this, and no questions."""
    home, temporary = os.path.join(work, "home"), os.path.join(work, "tmp")
    for directory in (home, temporary):
        os.makedirs(directory, exist_ok=True)
    path = os.pathsep.join([os.path.join(venv, "bin"), os.environ.get("PATH", os.defpath)])
    return {
        "PATH": path,
        "HOME": home,
        "TMPDIR": temporary,
        "LC_ALL": "C.UTF-8",
        "RESTIC_PASSWORD": "none",
        "RESTIC_CACHE_DIR": os.path.join(home, "restic"),
        "BORG_BASE_DIR": os.path.join(home, "borg"),
        "BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK": "yes",
        "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes",
    }
