"""Runs commands and measures them: wall, processor time and memory of all processes they start."""

import os
import resource
import shlex
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass

# No command of the comparison takes that long; one that hangs must not stop it for ever.
TIMEOUT = 3600

# How often the memory of running processes is looked at, first and later, in seconds.
FIRST, LATER = 0.0003, 0.02


@dataclass
class Sample:
    """What one run took: seconds, bytes, and how it ended."""

    wall: float
    cpu: float
    memory: int
    status: int
    error: str


def run(command, directory, environment, output=os.devnull, watch=False):
    """Runs a command of the shell; simple ones are started without a shell. The processor time is
    that of all processes that were waited for, as the kernel counts it. With `watch` the memory is
    looked at, too."""
    process = None
    # Made before the clock runs: a thread is a part of what a run of a millisecond takes.
    timer = threading.Timer(TIMEOUT, lambda: kill(process))
    timer.daemon = True
    timer.start()
    with open(output, "wb") as stdout, tempfile.TemporaryFile() as errors:
        before = time.perf_counter()
        process = subprocess.Popen(
            arguments(command),
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=errors,
            start_new_session=True,
        )
        watcher = Watcher(process.pid) if watch else None
        try:
            _, status, used = os.wait4(process.pid, 0)
        except BaseException:
            kill(process)
            raise
        finally:
            wall = time.perf_counter() - before
            timer.cancel()
        process.returncode = os.waitstatus_to_exitcode(status)
        memory = watcher.peak() if watcher else 0
        errors.seek(0)
        said = errors.read()[-2000:].decode("utf-8", "replace").strip()
        return Sample(wall, used.ru_utime + used.ru_stime, memory, process.returncode, said)


def arguments(command):
    """Returns what is executed: a pipeline needs a shell, all else does without."""
    if any(sign in command for sign in "|>&;$"):
        return ["bash", "-c", "set -euo pipefail; " + command]
    return shlex.split(command)


def kill(process):
    """Ends a command with all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


class Watcher:
    """Adds up, again and again, the peaks of resident memory of a process and all below it that are
    running. Each process's own peak is counted by the kernel, so nothing is missed between two
    looks but processes that begin and end there."""

    def __init__(self, pid):
        self.pid = pid
        self.most = 0
        self.stopped = threading.Event()
        self.own = read_file("/proc/self/cmdline")
        self.thread = threading.Thread(target=self.watch, daemon=True)
        self.thread.start()

    def watch(self):
        begun = time.monotonic()
        while not self.stopped.is_set():
            self.most = max(self.most, sum(self.peaks(self.pid)))
            self.stopped.wait(FIRST if time.monotonic() - begun < 0.03 else LATER)

    def peaks(self, pid):
        """Yields the peaks of a process and all below it."""
        # Between fork and exec it is this very program.
        if read_file(f"/proc/{pid}/cmdline") != self.own:
            for line in read_file(f"/proc/{pid}/status").splitlines():
                if line.startswith(b"VmHWM:"):
                    yield int(line.split()[1]) * 1024
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            return
        for thread in threads:
            for child in read_file(f"/proc/{pid}/task/{thread}/children").split():
                yield from self.peaks(int(child))

    def peak(self):
        self.stopped.set()
        self.thread.join()
        return self.most


def read_file(path):
    """Returns what a file of /proc says; nothing when the process is gone."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def on_cores(count):
    """Confines this program and all it starts to so many cores; returns how many there are."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, cores)
    return len(cores)


def unlimited_files():
    """Lets programs open as many files as the system allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
