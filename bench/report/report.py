#!/usr/bin/env python3
"""Prints figures as a table, and adds the machine to them."""
import argparse
import json
import os
import platform


def machine(where):
    with open("/proc/cpuinfo") as cpus:
        names = [line.split(":", 1)[1].strip() for line in cpus if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.machine(),
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "kvm": where or None,  # "direct", "nested" (an emulated host), or no machine in it
    }


def number(value):
    if value is None:
        return ""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def goal(result):
    if result["goal"] is None:
        return ""
    sign = ">=" if result["ratio"] is not None else "<="
    return f"{sign} {number(result['goal'])} {'met' if result['met'] else 'MISSED'}"


def table(results):
    rows = [("figure", "value", "peer", "ratio", "goal", "unit; peer")]
    for r in results:
        peer = f"; {r['peer']}" if r["peer"] else ""
        rows.append((r["name"], number(r["value"]), number(r["peer_value"]), number(r["ratio"]), goal(r), r["unit"] + peer))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        left = row[0].ljust(widths[0])
        middle = "  ".join(row[i].rjust(widths[i]) for i in range(1, 4))
        print(f"{left}  {middle}  {row[4].ljust(widths[4])}  {row[5]}".rstrip())


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results")
    parser.add_argument("--where", default="")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    with open(arguments.results) as file:
        results = json.load(file)["results"]
    table(results)
    with open(arguments.out, "w") as file:
        json.dump({"results": results, "machine": machine(arguments.where)}, file, indent=1)
        file.write("\n")


main()
