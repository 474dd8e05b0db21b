#!/usr/bin/python3
"""Runs the demo and checks what it promises to scripts: its exit code, its last line, and the fields of report.json.
usage: demo_test.py FOLDER [DEMO-ARGUMENT]..."""
import json
import pathlib
import re
import subprocess
import sys

LAST_LINE = re.compile(
    r"clonesafe demo: (\d+) clones, (\d+) probes, (\d+) duplicated values without, 0 with; "
    r"restore p50 \d+\.\d\d ms, safe p50 \d+\.\d\d ms")
PROBE = {"name", "without", "with", "unannounced", "tier", "needs_hook"}
HOOKS = {"cxx.mt19937", "cxx.openssl_rand", "python.random", "python.ssl"}


def check(condition, what):
    if not condition:
        sys.exit(f"demo_test.py: {what}")


def check_probe(probe):
    name = probe["name"]
    check(set(probe) == PROBE, f"{name} has the fields {sorted(probe)}")
    check(set(probe["without"]) == {"duplicates", "samples"}, f"{name}: fields of without")
    check(set(probe["with"]) == {"duplicates", "samples"}, f"{name}: fields of with")
    check(set(probe["unannounced"]) == {"duplicates", "samples", "window_us"}, f"{name}: fields of unannounced")
    check(probe["needs_hook"] == (name in HOOKS), f"{name}: needs_hook is {probe['needs_hook']}")
    for mode in ("without", "with", "unannounced"):
        check(probe[mode]["samples"] > 0, f"{name} drew nothing {mode}")
    if probe["needs_hook"]:
        return
    check(probe["with"]["duplicates"] == 0, f"{name} repeated values with clonesafe")
    if probe["tier"] == "word":
        check(probe["unannounced"]["duplicates"] == 0, f"{name} repeated values in tier word")


def main():
    demo = pathlib.Path(__file__).resolve().parents[2] / "scripts" / "demo.sh"
    folder = pathlib.Path(sys.argv[1])
    run = subprocess.run([demo, "--out", folder, *sys.argv[2:]], stdout=subprocess.PIPE, text=True, check=False)
    print(run.stdout)
    check(run.returncode == 0, f"exit code {run.returncode}")
    last = run.stdout.rstrip("\n").split("\n")[-1]
    match = LAST_LINE.fullmatch(last)
    check(match, f"the last line is '{last}'")

    report = json.loads((folder / "report.json").read_text())
    check(set(report) == {"kernel", "clones", "probes", "restore_us", "first_exit_us", "safe_us"},
          f"report.json has the fields {sorted(report)}")
    for time in ("restore_us", "first_exit_us", "safe_us"):
        check(set(report[time]) == {"p50", "p99"} and 0 < report[time]["p50"] <= report[time]["p99"], f"{time}: {report[time]}")
    for probe in report["probes"]:
        check_probe(probe)
    counted = [probe for probe in report["probes"] if not probe["needs_hook"]]
    check({"clonesafe.random", "clonesafe.uuid4"} <= {p["name"] for p in counted if p["tier"] == "word"},
          "the library's probes are not in tier word")
    check(int(match[1]) == report["clones"] and int(match[2]) == len(counted), "the last line counts otherwise than report.json")
    repeated = sum(probe["without"]["duplicates"] for probe in counted)
    check(int(match[3]) == repeated > 0, f"report.json counts {repeated} values that were repeated without")
    check("<table" in (folder / "report.html").read_text(), "report.html has no table")


main()
