#!/usr/bin/python3
"""Checks that clones repeat nothing, in whatever way they were made, and that without clonesafe they do.
usage: ways_matrix.py FOLDER      FOLDER has WAY and WAY-without for each way, as ways-on-host.sh leaves them
With clonesafe a source of the library, which must be of tier `word`, and an identity may repeat nothing. Without it something that
needs no hook must have been repeated, or the way has proved nothing."""
import json
import pathlib
import sys

WAYS = ["incremental", "fork", "descendant"]
CHECKED = ["clonesafe.random", "clonesafe.uuid4", "identity.boot-id", "identity.hostname", "identity.machine-id"]


def probes_of(folder):
    return json.loads((folder / "result.json").read_text())["probes"]


def findings(top, way):
    """What is wrong with one way, a line each."""
    with_it = {probe["name"]: probe for probe in probes_of(top / way)}
    for name in CHECKED:
        probe = with_it[name]
        if probe["samples"] == 0:
            yield f"{name} drew nothing"
        if probe["duplicates"] > 0:
            yield f"{name} repeated {probe['duplicates']} of {probe['samples']}"
        if name.startswith("clonesafe.") and probe["tier"] != "word":
            yield f"{name} is of tier {probe['tier']}"
    if not any(p["duplicates"] for p in probes_of(top / f"{way}-without") if not p["needs_hook"]):
        yield "without clonesafe nothing was repeated either"


def count(top, folder):
    probes = [probe for probe in probes_of(top / folder) if not probe["needs_hook"]]
    return f"{sum(p['duplicates'] for p in probes)} of {sum(p['samples'] for p in probes)}"


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: ways_matrix.py FOLDER")
    top = pathlib.Path(sys.argv[1])
    print(f"{'clones made by':16}{'without':>16}{'with':>16}   (repeated values of sources that need no hook)")
    wrong = []
    for way in WAYS:
        print(f"{way:16}{count(top, way + '-without'):>16}{count(top, way):>16}")
        wrong += [f"{way}: {finding}" for finding in findings(top, way)]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


sys.exit(main())
