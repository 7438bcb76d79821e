"""The trees that are archived. All but two are generated, the same everywhere; sources are crates of
pinned versions; binaries are those of the machine."""

import hashlib
import os
import random
import shutil
import subprocess

import generate

HERE = os.path.dirname(os.path.abspath(__file__))
MB = 1_000_000

# Sizes of the real corpora and of those of --quick.
SIZES = {
    False: {
        "binaries": 600 * MB,
        "logs": 300 * MB,
        "media": 300 * MB,
        "many": 400,
        "tenth": 40,
        "mixed": 1.0,
    },
    True: {
        "binaries": 6 * MB,
        "logs": 3 * MB,
        "media": 6 * MB,
        "many": 2,
        "tenth": 1,
        "mixed": 0.05,
    },
}

NAMES = ["sources", "binaries", "logs", "media", "many", "mixed"]

# What is built for one thing only: whether memory grows with the number of files.
EXTRA = ["tenth"]

# Crates that are nothing but import libraries of another system.
NOT_SOURCES = ("windows", "winapi")


class Corpora:
    """Builds corpora below a directory, one at a time."""

    def __init__(self, directory, cache, quick):
        self.directory = directory
        self.cache = cache
        self.quick = quick
        self.sizes = SIZES[quick]

    def build(self, name):
        """Builds a corpus and returns it."""
        root = os.path.join(self.directory, name)
        remove(root)
        os.makedirs(root)
        getattr(self, name)(root)
        set_times(root)
        return Corpus(name, root)

    def sources(self, root):
        """Crates, without what is no source; in a quick run the library beside this script."""
        if self.quick:
            for part in ("isptar-core/src", "isptar-cli/src"):
                copy_tree(os.path.join(HERE, "../..", part), os.path.join(root, part))
            return
        vendored = self.vendor()
        for crate in sorted(os.listdir(vendored)):
            if not crate.startswith(NOT_SOURCES):
                copy_tree(os.path.join(vendored, crate), os.path.join(root, crate), (".a", ".lib"))

    def vendor(self):
        """Fetches the crates once; returns the directory."""
        manifest = os.path.join(HERE, "sources/Cargo.toml")
        with open(os.path.join(HERE, "sources/Cargo.lock"), "rb") as lock:
            identity = hashlib.sha256(lock.read()).hexdigest()[:16]
        vendored = os.path.join(self.cache, f"crates-{identity}")
        if not os.path.isdir(vendored):
            os.makedirs(self.cache, exist_ok=True)
            unfinished = vendored + ".unfinished"
            remove(unfinished)
            command = ["cargo", "vendor", "--locked", "--versioned-dirs", "--quiet"]
            subprocess.run(
                [*command, "--manifest-path", manifest, unfinished],
                check=True,
                stdout=subprocess.DEVNULL,
            )
            os.rename(unfinished, vendored)
        return vendored

    def binaries(self, root):
        """Files and links of /usr/bin and /usr/lib in the order of the SHA-256 of their paths, each
        that fits below the limit, until 100 did not."""
        left, refused = self.sizes["binaries"], 0
        for _, path in sorted((digest(path), path) for path in below("/usr/bin", "/usr/lib")):
            size = os.lstat(path).st_size
            if size > left:
                refused += 1
                if refused == 100:
                    break
                continue
            if os.access(path, os.R_OK):
                copy_file(path, root + path)
                left -= size

    def logs(self, root):
        """Access logs, syslogs, and JSON lines, in files of up to 64 MB."""
        generate.logs(root, self.sizes["logs"])

    def media(self, root):
        """Bytes that do not compress, behind heads that do."""
        generate.media(root, self.sizes["media"])

    def many(self, root):
        """Directories of 1000 small files: mail, sessions, caches."""
        generate.many(root, self.sizes["many"])

    def tenth(self, root):
        """The first tenth of `many`."""
        generate.many(root, self.sizes["tenth"])

    def mixed(self, root):
        """A part of each."""
        part = self.sizes["mixed"]
        crates = os.path.join(root, "sources")
        if self.quick:
            self.sources(crates)
        else:
            vendored = self.vendor()
            for crate in sorted(os.listdir(vendored))[::3]:
                if not crate.startswith(NOT_SOURCES):
                    copy_tree(
                        os.path.join(vendored, crate), os.path.join(crates, crate), (".a", ".lib")
                    )
        whole, self.sizes = self.sizes, {**self.sizes, "binaries": int(120 * MB * part)}
        self.binaries(os.path.join(root, "binaries"))
        self.sizes = whole
        generate.logs(os.path.join(root, "logs"), int(80 * MB * part))
        generate.media(os.path.join(root, "media"), int(100 * MB * part))
        generate.many(os.path.join(root, "many"), max(1, int(10 * part)))


class Corpus:
    """A tree, its size, and what single things are read from it."""

    def __init__(self, name, root):
        self.name = name
        self.root = root
        self.files = self.directories = self.links = self.bytes = 0
        regular = []
        for path in below(root):
            self.count(path)
            if os.path.isfile(path) and not os.path.islink(path):
                regular.append(path)
        regular.sort()
        # Something from the middle.
        self.one = os.path.relpath(regular[len(regular) // 2], root)
        self.one_directory = os.path.dirname(self.one)
        self.entries = self.files + self.directories + self.links

    def count(self, path):
        if os.path.islink(path):
            self.links += 1
        elif os.path.isdir(path):
            self.directories += 1
        else:
            self.files += 1
            self.bytes += os.lstat(path).st_size

    def described(self):
        """What the report says of it."""
        return {
            "files": self.files,
            "directories": self.directories,
            "links": self.links,
            "bytes": self.bytes,
        }


def below(*roots):
    """Yields every path below directories."""
    for root in roots:
        for directory, directories, files in os.walk(root):
            for name in directories + files:
                yield os.path.join(directory, name)


def copy_tree(source, target, without=()):
    """Copies files and links."""
    for path in below(source):
        if not path.endswith(without or "\0"):
            copy_file(path, os.path.join(target, os.path.relpath(path, source)))


def copy_file(source, target):
    """Copies a file or a link with its mode and the directories above it; directories and devices
    are not copied by themselves."""
    if os.path.islink(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.symlink(os.readlink(source), target)
    elif os.path.isfile(source):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copy(source, target)


def set_times(root):
    """Gives files the times of a tree that grew, with nanoseconds, the same in every run."""
    numbers = random.Random(1)
    for path in sorted(below(root)):
        seconds = 1_600_000_000 + numbers.getrandbits(26)
        time = seconds * 1_000_000_000 + numbers.randrange(1_000_000_000)
        os.utime(path, ns=(time, time), follow_symlinks=False)


def digest(path):
    return hashlib.sha256(os.fsencode(path)).digest()


def remove(path):
    """Removes a file or a tree, if there is one."""
    if os.path.isdir(path) and not os.path.islink(path):
        # Quicker than shutil by far, for 400,000 files.
        subprocess.run(["rm", "-rf", "--", path], check=True)
    elif os.path.lexists(path):
        os.unlink(path)
