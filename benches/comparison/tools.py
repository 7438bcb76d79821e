"""What is compared: every command line of every tool, as its users write it.

In a command {isptar} is the program that is measured, {helper} the helper built beside the benches,
{A} the archive, {threads} the option --threads where isptar has it, {n} the number of cores, {ONE} a
file, {DIR} a directory. Creating runs in the source, extracting in an empty directory.
"""

import os
import shutil
from dataclasses import dataclass

# What Debian calls the packages of the programs.
PACKAGES = {
    "bash": "bash",
    "borg": "borgbackup",
    "bsdtar": "libarchive-tools",
    "dar": "dar",
    "gzip": "gzip",
    "igzip": "isal",
    "libdeflate-gzip": "libdeflate-tools",
    "mksquashfs": "squashfs-tools",
    "unsquashfs": "squashfs-tools",
    "pigz": "pigz",
    "restic": "restic",
    "strace": "strace",
    "tar": "tar",
    "unzip": "unzip",
    "zip": "zip",
    "zipinfo": "unzip",
    "7z": "p7zip-full",
    "fusermount": "fuse",
}

# What comes from PyPI, into a virtual environment below the work directory.
FROM_PYPI = {"rapidgzip": "rapidgzip", "ratarmount": "ratarmount"}


@dataclass(frozen=True)
class Row:
    """One command of one tool in one operation."""

    key: str
    label: str
    command: str
    # Programs that it needs.
    programs: tuple = ()
    # For all but create: the row of create that makes the archive. For create: the row of extract
    # that shows that the archive is right.
    archive: str = ""
    # How {A} ends, and what the tool appends to it.
    suffix: str = ""
    appended: str = ""
    # Run before each run, outside of the time.
    prepare: str = ""
    # Only in these corpora.
    corpora: tuple = ()
    # Times that are restored: exact, seconds, or none; and whether modes are.
    times: str = "seconds"
    modes: bool = True
    # What is restored beside the files.
    brings: str = ""
    # Takes many times as long as those that targets are about: fewer rounds.
    slow: bool = False


# Those in which a run with one thread is compared, and plain tar restores what isptar wrote.
SOME = ("sources", "many")

CREATE = [
    Row("isptar", "isptar", "{isptar} create -q {threads} {A} .", archive="isptar", suffix=".tar.gz"),
    Row(
        "isptar-group",
        "isptar --group-size 64K",
        "{isptar} create -q --group-size 64K {threads} {A} .",
        archive="isptar-group",
        suffix=".tar.gz",
    ),
    Row("isptar-1", "isptar --level 1", "{isptar} create -q --level 1 {threads} {A} .", archive="isptar"),
    Row(
        "isptar-t1",
        "isptar --threads 1",
        "{isptar} create -q --threads 1 {A} .",
        archive="isptar",
        corpora=SOME,
    ),
    Row(
        "pigz",
        "tar | pigz -6 -p{n}",
        "tar cf - . | pigz -6 -p{n} > {A}",
        ("tar", "pigz"),
        archive="pigz",
        suffix=".tar.gz",
    ),
    Row(
        "libdeflate",
        "tar | libdeflate-gzip -6",
        "tar cf - . | libdeflate-gzip -6 -c > {A}",
        ("tar", "libdeflate-gzip"),
        archive="pigz",
    ),
    Row("igzip", "tar | igzip -1", "tar cf - . | igzip -1 -c > {A}", ("tar", "igzip"), archive="pigz"),
    Row(
        "squashfs",
        "mksquashfs -comp gzip",
        "mksquashfs . {A} -comp gzip -processors {n} -quiet -no-progress",
        ("mksquashfs",),
        archive="unsquashfs",
        slow=True,
    ),
    Row(
        "squashfs-6",
        "mksquashfs -comp gzip, level 6",
        "mksquashfs . {A} -comp gzip -Xcompression-level 6 -processors {n} -quiet -no-progress",
        ("mksquashfs",),
        archive="unsquashfs",
    ),
    Row(
        "restic",
        "restic backup",
        "restic -q -r {A} backup .",
        ("restic",),
        prepare="restic -q -r {A} init",
        archive="restic",
        slow=True,
    ),
    Row(
        "borg",
        "borg create -C zlib,6",
        "borg create --compression zlib,6 {A}::a .",
        ("borg",),
        prepare="borg init -e none {A}",
        archive="borg",
        slow=True,
    ),
    Row("gzip", "tar | gzip -6", "tar cf - . | gzip -6 > {A}", ("tar", "gzip"), archive="pigz", slow=True),
    Row("bsdtar", "bsdtar czf", "bsdtar czf {A} .", ("bsdtar",), archive="bsdtar", slow=True),
    Row("zip", "zip -6 -r", "zip -q -6 -r -y {A} .", ("zip",), archive="unzip", suffix=".zip", slow=True),
    Row(
        "dar",
        "dar -zgzip:6",
        "dar -Q -q -c {A} -zgzip:6 -R .",
        ("dar",),
        archive="dar",
        appended=".1.dar",
        slow=True,
    ),
    Row(
        "7z",
        "7z a -mx1 (LZMA2)",
        "7z a -bd -bso0 -bsp0 -mx1 -mmt{n} -snl {A} .",
        ("7z",),
        archive="7z",
        suffix=".7z",
        slow=True,
    ),
]

EXTRACT = [
    Row("isptar", "isptar extract", "{isptar} extract -q {threads} {A}", archive="isptar", times="exact"),
    Row(
        "isptar-group",
        "isptar extract, groups of 64K",
        "{isptar} extract -q {threads} {A}",
        archive="isptar-group",
        times="exact",
    ),
    Row(
        "isptar-t1",
        "isptar extract --threads 1",
        "{isptar} extract -q --threads 1 {A}",
        archive="isptar",
        times="exact",
        corpora=SOME,
    ),
    Row("pigz", "pigz -dc | tar x", "pigz -dc {A} | tar xf -", ("tar", "pigz"), archive="pigz"),
    Row(
        "unsquashfs",
        "unsquashfs",
        "unsquashfs -quiet -no-progress -processors {n} -f -d . {A}",
        ("unsquashfs",),
        archive="squashfs",
    ),
    Row("tar", "tar xzf", "tar xzf {A}", ("tar", "gzip"), archive="pigz", slow=True),
    Row(
        "tar-isptar",
        "tar xzf, isptar's archive",
        "tar xzf {A}",
        ("tar", "gzip"),
        archive="isptar",
        brings=".backup.info",
        slow=True,
    ),
    Row(
        "rapidgzip",
        "rapidgzip -P{n} | tar x",
        "rapidgzip -q -d -c -P {n} {A} | tar xf -",
        ("rapidgzip", "tar"),
        archive="pigz",
        slow=True,
    ),
    Row("bsdtar", "bsdtar xf", "bsdtar xf {A}", ("bsdtar",), archive="pigz", slow=True),
    Row("unzip", "unzip", "unzip -q {A}", ("unzip",), archive="zip", slow=True),
    Row("dar", "dar -x", "dar -Q -q -x {A} -R .", ("dar",), archive="dar", slow=True),
    Row("7z", "7z x", "7z x -bd -bso0 -bsp0 -snld20 -mmt{n} {A}", ("7z",), archive="7z", slow=True),
    Row("borg", "borg extract", "borg extract {A}::a", ("borg",), archive="borg", slow=True),
    Row(
        "restic",
        "restic restore",
        "restic -q -r {A} restore latest --target .",
        ("restic",),
        archive="restic",
        slow=True,
    ),
]

VERIFY = [
    Row("isptar", "isptar verify", "{isptar} verify -q {threads} {A}", archive="isptar"),
    Row(
        "isptar-group",
        "isptar verify, groups of 64K",
        "{isptar} verify -q {threads} {A}",
        archive="isptar-group",
    ),
    Row(
        "isptar-t1",
        "isptar verify --threads 1",
        "{isptar} verify -q --threads 1 {A}",
        archive="isptar",
        corpora=SOME,
    ),
    Row("pigz", "pigz -t", "pigz -t {A}", ("pigz",), archive="pigz"),
    Row("gzip", "gzip -t", "gzip -t {A}", ("gzip",), archive="pigz", slow=True),
    Row("zip", "unzip -tq", "unzip -tqq {A}", ("unzip",), archive="zip", slow=True),
    Row("dar", "dar -t", "dar -Q -q -t {A}", ("dar",), archive="dar", slow=True),
    Row("7z", "7z t", "7z t -bd -bso0 -bsp0 -mmt{n} {A}", ("7z",), archive="7z", slow=True),
    Row("borg", "borg check --verify-data", "borg check --verify-data {A}", ("borg",), archive="borg", slow=True),
    Row(
        "restic",
        "restic check --read-data",
        "restic -q -r {A} check --read-data",
        ("restic",),
        archive="restic",
        slow=True,
    ),
]

# ratarmount goes into the background when the archive is mounted.
MOUNTED = "mkdir -p {A}.mnt; ratarmount {A} {A}.mnt >&2; {0}; fusermount -u {A}.mnt"
RATARMOUNT = ("ratarmount", "fusermount")

LIST = [
    Row("isptar", "isptar ls", "{isptar} ls {A}", archive="isptar"),
    Row("isptar-group", "isptar ls, groups of 64K", "{isptar} ls {A}", archive="isptar-group"),
    Row("zip", "zipinfo -1", "zipinfo -1 {A}", ("zipinfo",), archive="zip"),
    Row("unsquashfs", "unsquashfs -l", "unsquashfs -l {A}", ("unsquashfs",), archive="squashfs"),
    Row("tar", "tar tzf", "tar tzf {A}", ("tar", "gzip"), archive="pigz", slow=True),
    Row(
        "rapidgzip",
        "rapidgzip | tar t",
        "rapidgzip -q -d -c -P {n} {A} | tar tf -",
        ("rapidgzip", "tar"),
        archive="pigz",
        slow=True,
    ),
    Row(
        "ratarmount",
        "ratarmount, its index being made, find",
        MOUNTED.replace("{0}", "find {A}.mnt"),
        RATARMOUNT,
        archive="pigz",
        prepare="rm -f {A}.index.sqlite",
        slow=True,
    ),
    Row("dar", "dar -l", "dar -Q -l {A}", ("dar",), archive="dar", slow=True),
    Row("7z", "7z l -ba", "7z l -ba {A}", ("7z",), archive="7z", slow=True),
    Row("borg", "borg list --short", "borg list --short {A}::a", ("borg",), archive="borg", slow=True),
    Row("restic", "restic ls", "restic -q -r {A} ls latest", ("restic",), archive="restic", slow=True),
]

DIRECTORY = [
    Row("isptar", "isptar ls DIR", "{isptar} ls {A} {DIR}", archive="isptar"),
    Row("isptar-group", "isptar ls DIR, groups of 64K", "{isptar} ls {A} {DIR}", archive="isptar-group"),
    Row("zip", "zipinfo -1", "zipinfo -1 {A} {DIR}/*", ("zipinfo",), archive="zip"),
    Row("unsquashfs", "unsquashfs -l", "unsquashfs -l {A} {DIR}", ("unsquashfs",), archive="squashfs"),
    Row("tar", "tar tzf", "tar tzf {A} ./{DIR}", ("tar", "gzip"), archive="pigz", slow=True),
    Row(
        "ratarmount",
        "ratarmount with its index, find",
        MOUNTED.replace("{0}", "find {A}.mnt/{DIR}"),
        RATARMOUNT,
        archive="pigz",
        slow=True,
    ),
    Row("dar", "dar -l -g", "dar -Q -l {A} -g {DIR}", ("dar",), archive="dar", slow=True),
    Row("7z", "7z l -ba", "7z l -ba {A} {DIR}/*", ("7z",), archive="7z", slow=True),
    Row("borg", "borg list --short", "borg list --short {A}::a {DIR}", ("borg",), archive="borg", slow=True),
    Row(
        "restic",
        "restic ls",
        "restic -q -r {A} ls latest /{DIR}",
        ("restic",),
        archive="restic",
        slow=True,
    ),
]

ONE = [
    Row("isptar", "isptar cat", "{isptar} cat {A} {ONE}", archive="isptar"),
    Row("isptar-group", "isptar cat, groups of 64K", "{isptar} cat {A} {ONE}", archive="isptar-group"),
    Row("zip", "unzip -p", "unzip -p {A} {ONE}", ("unzip",), archive="zip"),
    Row("unsquashfs", "unsquashfs -cat", "unsquashfs -cat {A} {ONE}", ("unsquashfs",), archive="squashfs"),
    Row("tar", "tar xzOf", "tar xzOf {A} ./{ONE}", ("tar", "gzip"), archive="pigz", slow=True),
    Row(
        "ratarmount",
        "ratarmount with its index, cat",
        MOUNTED.replace("{0}", "cat {A}.mnt/{ONE}"),
        RATARMOUNT,
        archive="pigz",
        slow=True,
    ),
    Row(
        "dar",
        "dar -x -g, cat",
        "dar -Q -q -x {A} -R . -g {ONE} >&2; cat {ONE}",
        ("dar",),
        archive="dar",
        slow=True,
    ),
    Row("7z", "7z x -so", "7z x -so -bd {A} {ONE}", ("7z",), archive="7z", slow=True),
    Row("borg", "borg extract --stdout", "borg extract --stdout {A}::a {ONE}", ("borg",), archive="borg", slow=True),
    Row("restic", "restic dump", "restic -q -r {A} dump latest /{ONE}", ("restic",), archive="restic", slow=True),
]

# What nothing that reads, compresses, or writes all files can be quicker than. They run in the source.
FLOORS = [
    Row("walk", "find, names and sizes", "find . -printf '%s %T@ %m %p\\n'"),
    Row("cat", "cat of all files", "find . -type f -print0 | xargs -0 cat"),
    Row("deflate", "libdeflate -6 on every file, one thread", "{helper} deflate 6 ."),
    Row("cp", "cp -a", "cp -a . {T}"),
]

# Every operation with its rows, and the corpora it is done in; none: in all.
OPERATIONS = {
    "floor": FLOORS,
    "create": CREATE,
    "extract": EXTRACT,
    "verify": VERIFY,
    "list": LIST,
    "directory": DIRECTORY,
    "one": ONE,
}
ONLY_MANY = ("list", "directory", "one")
TITLES = {
    "floor": "Floors",
    "create": "Create",
    "extract": "Extract all",
    "verify": "Verify",
    "list": "List all names",
    "directory": "List one directory",
    "one": "Read one file",
}

# The rest of the memory's table: isptar alone.
TENTH = ("create", "extract", "verify")


def rows(operation, corpus):
    """Returns the rows of an operation in a corpus."""
    if corpus == "tenth":
        wanted = OPERATIONS[operation] if operation in TENTH else []
        return [row for row in wanted if row.key == "isptar"]
    if operation in ONLY_MANY and corpus != "many":
        return []
    return [row for row in OPERATIONS[operation] if not row.corpora or corpus in row.corpora]


def missing(row, path):
    """Returns the programs of a row that are not installed."""
    return [program for program in row.programs if not shutil.which(program, path=path)]


def install(directory):
    """Installs what is missing: Debian's packages, and what is on PyPI below a directory."""
    from subprocess import run

    packages = sorted({PACKAGES[program] for program in PACKAGES if not shutil.which(program)})
    if packages:
        run(["apt-get", "update", "-q"], check=True)
        command = ["apt-get", "install", "-q", "-y", "--no-install-recommends", *packages]
        run(command, check=True, env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"})
    if not all(os.path.exists(os.path.join(directory, "bin", program)) for program in FROM_PYPI):
        run(["python3", "-m", "venv", directory], check=True)
        pip = os.path.join(directory, "bin/pip")
        run([pip, "install", "-q", *FROM_PYPI.values()], check=True)
