#!/usr/bin/python3
"""Checks that no thread of any clone repeats a random value or an identifier of the library's, of whatever kind, while stock generators
in the same machines do, and that the library itself repeats without anything to see.
usage: identifiers_matrix.py FOLDER      FOLDER has a folder for each run, as identifiers-on-host.sh leaves them"""
import json
import pathlib
import sys

THREADS = 4
DRAWS = 32  # of each thread of each machine, at least
KINDS = [f"clonesafe.{kind}" for kind in ("random", "private", "uuid1", "uuid4", "uuid6", "uuid7", "ulid", "snowflake")]
STOCK = ["cxx.mt19937", "cxx.openssl_rand", "cxx.snowflake", "cxx.boost_uuid"]
# Of these each thread of each clone goes on as its source does, whatever the kernel and the clock say.
ALWAYS_REPEATS = ["cxx.mt19937", "cxx.openssl_rand"]


class Run:
    """A run's result, the threads of a source taken together."""

    def __init__(self, folder):
        self.name = folder.name
        self.result = json.loads((folder / "result.json").read_text())
        self.probes = {probe["name"]: probe for probe in self.result["probes"]}

    def threads(self, source):
        return [self.probes[f"{source}.{thread}"] for thread in range(1, THREADS + 1)]

    def count(self, source, field="duplicates"):
        return sum(thread[field] for thread in self.threads(source))

    def findings(self):
        """What is wrong, a line each."""
        least = DRAWS * (self.result["clones"] + 1)
        for source in KINDS + STOCK:
            if any(thread["samples"] < least for thread in self.threads(source)):
                yield f"{source}: a thread drew less than {least} values"
        for source in ALWAYS_REPEATS:
            if any(thread["duplicates"] == 0 for thread in self.threads(source)):
                yield f"{source} did not repeat itself in every thread: nothing was compared"
        if self.count("cxx.snowflake") == 0:
            yield "Snowflakes with one worker id for all did not collide"
        if self.result["mode"] == "without":
            if not any(self.count(source) for source in KINDS):
                yield "the library repeated nothing either"
            return
        for source in KINDS:
            if self.count(source) > 0:
                yield f"{source} repeated {self.count(source)} of {self.count(source, 'samples')}"
            tiers = {thread["tier"] for thread in self.threads(source)}
            if tiers != {"word"}:
                yield f"{source} is of tier {', '.join(sorted(tiers))}"


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: identifiers_matrix.py FOLDER")
    runs = [Run(path.parent) for path in sorted(pathlib.Path(sys.argv[1]).glob("*/result.json"))]
    if not runs:
        sys.exit("identifiers_matrix.py: no runs")
    for run in runs:
        safe = sorted(restore["safe_us"] for restore in run.result["restores"] if restore.get("safe_us"))
        print(f"{run.name}: kernel {run.result['kernel']}, {run.result['clones']} clones and their source, {THREADS} threads each"
              + (f", safe p50 {safe[len(safe) // 2] / 1e6:.1f} s" if safe else ""))
    print(f"\n{'repeated':22}" + "".join(f"{run.name:>18}" for run in runs))
    for source in KINDS + STOCK:
        print(f"{source:22}" + "".join(f"{run.count(source):>8} of {run.count(source, 'samples'):>6}" for run in runs))
    total = [(sum(run.count(s) for s in KINDS), sum(run.count(s, "samples") for s in KINDS)) for run in runs]
    print(f"{'the library':22}" + "".join(f"{repeated:>8} of {samples:>6}" for repeated, samples in total))
    wrong = [f"{run.name}: {finding}" for run in runs for finding in run.findings()]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


sys.exit(main())
