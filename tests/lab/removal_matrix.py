#!/usr/bin/python3
"""Checks that taking away one part of clonesafe turns exactly that part's rows red.
usage: removal_matrix.py FOLDER      FOLDER has one folder for each part, as removal-on-host.sh leaves them
A row is red if a clone lost what it says: a source of the library is no longer told before its first instruction, or repeats;
an identity repeats; the agent's repair of the kernel's generator had no seed or failed; the agent learns of the restore from
no memory word; the agent is not safe."""
import json
import pathlib
import sys

LIBRARY = ["clonesafe.random", "clonesafe.uuid4"]
IDENTITY = ["identity.boot-id", "identity.hostname", "identity.machine-id"]
ROWS = LIBRARY + IDENTITY + ["seeded", "word", "safe"]
# The restore page names the seed, so the devices can't be taken away without it.
EXPECTED = {
    "nothing": [],
    "seed": ["seeded"],
    "page": LIBRARY,
    "word": ["seeded", "word"],
    "agent": LIBRARY + IDENTITY + ["seeded", "word", "safe"],
}


def agent_rows(status):
    """What one clone's agent says of itself; an absent one says nothing."""
    if status is None:
        return {"seeded", "word", "safe"}
    red = set()
    repairs = {repair["name"]: repair for repair in status["repairs"]}
    kernel = repairs.get("kernel_rng", {"result": "none", "detail": ""})
    if kernel["result"] != "ok" or "no seed" in kernel["detail"]:
        red.add("seeded")
    if status["decided_by"] not in ("restore_page", "vmclock", "vmgenid"):
        red.add("word")
    if status["state"] != "safe" or status["kind"] != "clone":
        red.add("safe")
    return red


def red_rows(folder):
    red = set()
    result = json.loads((folder / "result.json").read_text())
    probes = {probe["name"]: probe for probe in result["probes"]}
    for name in LIBRARY:
        if probes[name]["tier"] != "word" or probes[name]["duplicates"] > 0:
            red.add(name)
    for name in IDENTITY:
        if probes[name]["duplicates"] > 0:
            red.add(name)
    clones = sorted(folder.glob("machines/clone-*/agent.json"))
    if len(clones) != result["clones"]:
        sys.exit(f"removal_matrix.py: {folder} has {len(clones)} clones' status, not {result['clones']}")
    for path in clones:
        text = path.read_text().strip()
        red |= agent_rows(json.loads(text) if text else None)
    return red


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: removal_matrix.py FOLDER")
    top = pathlib.Path(sys.argv[1])
    found = {part: red_rows(top / part) for part in EXPECTED}
    width = max(map(len, ROWS))
    print("taken away".ljust(width), *(part.rjust(8) for part in EXPECTED))
    for row in ROWS:
        print(row.ljust(width), *(("red" if row in found[part] else ".").rjust(8) for part in EXPECTED))
    wrong = 0
    for part, rows in EXPECTED.items():
        for row in sorted(found[part] ^ set(rows)):
            print(f"without {part}: {row} is {'red' if row in found[part] else 'not red'}")
            wrong += 1
    return 1 if wrong else 0


sys.exit(main())
