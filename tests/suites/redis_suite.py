#!/usr/bin/env python3
"""Redis's own suite, as it runs against a server that is there already, straight and through clonesafe-proxy: each test has to end alike.

usage: redis_suite.py CLONESAFE-PROXY [UNIT]...      units as `runtest --list-tests` has them, say unit/pubsub; without any: all
"""
import collections
import contextlib
import pathlib
import random
import re
import shutil
import subprocess
import sys

from proxy import HERE, Process, fail, free_port, need, start_proxy, work_folder

LIMIT_S = 1800  # of a unit
STUCK_S = 600  # of a test
BASE_PORTS = range(21000, 31000, 100)  # of the suite's own processes
# As the suite's own CI starts and runs it.
SERVER = ["redis-server", "--bind", HERE, "--save", "", "--enable-protected-configs", "yes", "--enable-debug-command", "yes",
          "--enable-module-command", "yes"]
TAGS = "-slow"
# What is not the same, as docs/proxy.md says under "Suites".
DIFFERENT = {
    ("unit/introspection", "CLIENT KILL SKIPME YES/NO will kill all clients"): "who is killed goes on, with another connection",
}

LINE = re.compile(r"\[(ok|err|exception|TIMEOUT)\]: (.*)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def fetched():
    script = pathlib.Path(__file__).resolve().parent.parent / "lab/fetch.sh"
    return pathlib.Path(subprocess.run([script, "redis-suite"], check=True, capture_output=True, text=True).stdout.strip()) / "redis-suite"


def units(suite):
    listed = subprocess.run(["./runtest", "--list-tests"], cwd=suite, check=True, capture_output=True, text=True).stdout.split()
    return [unit for unit in listed if "/" in unit]


def run(suite, unit, port, log):
    """How each test of a unit ended, and how often."""
    with open(log, "w") as output:
        subprocess.run(["timeout", "--kill-after=10", str(LIMIT_S), "./runtest", "--host", HERE, "--port", str(port), "--tags", TAGS, "--durable",
                        "--timeout", str(STUCK_S), "--baseport", str(random.choice(BASE_PORTS)), "--single", unit],
                       cwd=suite, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    text = COLOUR.sub("", log.read_text(errors="replace"))
    ends = collections.Counter({"all of it: run": int("The End" in text)})
    for line in text.splitlines():
        if found := LINE.match(line):
            ends[f"{found[1]}: " + re.sub(r" (\(\d+ ms\)|in tests/\S+)$", "", found[2])] += 1
    return ends


def compare(unit, direct, proxied):
    """Prints what differs; gives how many of that nobody has named."""
    unnamed = 0
    for end in sorted((direct - proxied) + (proxied - direct)):
        reason = DIFFERENT.get((unit, end.split(": ", 1)[1]))
        unnamed += reason is None
        print(f"  {unit}: {end}: {direct[end]} direct, {proxied[end]} through the proxy{f' ({reason})' if reason else ''}")
    return unnamed


def run_direct_and_proxied(folder, program, suite, unit):
    """Each with a server of its own, since a unit leaves what it has set."""
    runs = []
    for proxied in (False, True):
        here = folder / f"{unit.replace('/', '-')}-{'proxied' if proxied else 'direct'}"
        here.mkdir()
        server_port, port = free_port(), free_port()
        with contextlib.ExitStack() as started:
            processes = [started.enter_context(Process(here, "redis", [*SERVER, "--port", server_port], server_port))]
            if proxied:
                processes.append(started.enter_context(start_proxy(here, program, port, "redis", server_port)))
            runs.append(run(suite, unit, port if proxied else server_port, here / "suite.log"))
            for process in processes:
                process.must_run()
    return runs


def main(program, wanted):
    need("redis-server", "tclsh")
    source = fetched()
    with work_folder() as folder:
        suite = folder / "suite"
        shutil.copytree(source, suite, symlinks=True)
        well, unnamed = 0, 0
        for unit in wanted or units(suite):
            direct, proxied = run_direct_and_proxied(folder, program, suite, unit)
            unnamed += compare(unit, direct, proxied)
            well += sum(count for end, count in direct.items() if end.startswith("ok: "))
            print(f"{unit}: {direct.total() - 1} tests", flush=True)
        print(f"{well} tests are well without the proxy; {unnamed} ends of tests differ through it, beside those that are named")
        if not well or unnamed:
            fail("not the same")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:])
