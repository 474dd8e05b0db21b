#!/usr/bin/python3
"""Streams what the library draws into ent and dieharder, through pipes that never begin anew, and reports in Markdown.
usage: statistics_soak.py RANDOM_STREAM [--out FILE] [--streams public,private,ctr_drbg] [--gib 8] [--tests 0,1,...]

Without --tests all of `dieharder -a` runs, which takes an hour or more of one processor for each stream. Fails if a test says FAILED, if more
are WEAK than chance makes, or if less than --gib GiB was read. Exit code 77: skipped, without dieharder or ent."""
import argparse
import math
import re
import shutil
import subprocess
import sys
import time

SKIPPED = 77
# dieharder's own list says "Do Not Use" of it.
NOT_JUDGED = {"diehard_sums"}
# WEAK is p < 0.005 or p > 0.995: one in a hundred. More than this many times as many don't come by chance.
MOST_WEAK_SHARE = 0.07


class Report:
    def __init__(self, path):
        self.file = open(path, "w") if path else sys.stdout

    def line(self, text=""):
        print(text, file=self.file, flush=True)


def piped(program, stream, reader, count=None):
    """The reader's lines as they come; then how many bytes it took."""
    source = subprocess.Popen([program, stream] + ([str(count)] if count else []), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=False)
    sink = subprocess.Popen(reader, stdin=source.stdout, stdout=subprocess.PIPE, text=True, bufsize=1)
    source.stdout.close()
    for line in sink.stdout:
        yield line
    sink.wait()
    words = source.stderr.read().decode()
    source.wait()
    assert sink.returncode == 0 and source.returncode == 0, (reader, sink.returncode, source.returncode, words)
    yield int(re.search(r"^(\d+) bytes$", words, re.M).group(1))


def run_ent(program, stream, gib, report):
    """Byte-wise statistics of exactly so many GiB."""
    *lines, taken = piped(program, stream, ["ent", "-t"], gib << 30)
    # 0,File-bytes,Entropy,Chi-square,Mean,Monte-Carlo-Pi,Serial-Correlation
    _, count, entropy, chi_square, mean, pi, correlation = lines[1].strip().split(",")
    assert int(count) == taken == gib << 30, (count, taken)
    # Of 255 degrees of freedom, by the normal distribution that it comes near to.
    deviation = (float(chi_square) - 255) / math.sqrt(2 * 255)
    report.line(f"| {stream} | {gib} | {entropy} | {float(chi_square):.1f} ({deviation:+.2f} sigma) | {mean} | {pi} | {correlation} |")
    # Sums of n bytes: a mean off by 5 sigma, or a correlation, is none of chance's.
    spread = 73.9 / math.sqrt(taken)
    return abs(deviation) < 5 and abs(float(mean) - 127.5) < 5 * spread and abs(float(correlation)) < 5 / math.sqrt(taken)


def kolmogorov(values):
    """How likely uniform values lie as far from the diagonal as these."""
    values = sorted(values)
    n = len(values)
    distance = max(max((i + 1) / n - p, p - i / n) for i, p in enumerate(values))
    x = distance * (math.sqrt(n) + 0.12 + 0.11 / math.sqrt(n))
    return min(1.0, max(0.0, 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))))


def run_dieharder(program, stream, tests, report):
    """The results as (name, ntuple, p, assessment), and the bytes that they took."""
    results, taken = [], 0
    for options in [["-a"]] if tests is None else [["-d", test] for test in tests]:
        for line in piped(program, stream, ["dieharder", *options, "-g", "200"]):
            if isinstance(line, int):
                taken += line
                continue
            fields = [field.strip() for field in line.split("|")]
            if len(fields) < 6 or fields[5] not in ("PASSED", "WEAK", "FAILED"):
                continue
            results.append((fields[0], fields[1], float(fields[4]), fields[5]))
            report.line("    " + line.rstrip())
    return results, taken


def summarize(stream, results, taken, seconds, report):
    judged = [result for result in results if result[0] not in NOT_JUDGED]
    values = [p for _, _, p, _ in judged]
    count = {verdict: sum(1 for result in judged if result[3] == verdict) for verdict in ("PASSED", "WEAK", "FAILED")}
    weak = ", ".join(f"{name} {ntuple}: {p:.4f}" for name, ntuple, p, verdict in judged if verdict != "PASSED")
    report.line(f"| {stream} | {taken / 2**30:.1f} | {len(judged)} | {count['PASSED']} | {count['WEAK']} | {count['FAILED']} | {min(values):.4f} | "
                f"{max(values):.4f} | {kolmogorov(values):.3f} | {weak} | {seconds / 60:.0f} |")
    return count["FAILED"] == 0 and count["WEAK"] <= max(2, MOST_WEAK_SHARE * len(judged))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("--out")
    parser.add_argument("--streams", default="public,private,ctr_drbg")
    parser.add_argument("--gib", type=int, default=8)
    parser.add_argument("--tests", help="numbers of dieharder's, instead of all")
    arguments = parser.parse_args()
    missing = [tool for tool in ("ent", "dieharder") if not shutil.which(tool)]
    if missing:
        print("SKIPPED: no " + " and no ".join(missing))
        return SKIPPED
    tests = arguments.tests.split(",") if arguments.tests else None
    report = Report(arguments.out)
    streams = arguments.streams.split(",")
    good = True

    report.line("ent:")
    report.line()
    report.line("| stream | GiB | entropy, bits a byte | chi-square of 255 | mean (127.5) | pi | serial correlation |")
    report.line("|---|---|---|---|---|---|---|")
    for stream in streams:
        good &= run_ent(arguments.program, stream, arguments.gib, report)
    summaries = []
    for stream in streams:
        report.line()
        report.line(f"dieharder {'-a' if tests is None else '-d ' + arguments.tests}, {stream}:")
        report.line()
        start = time.monotonic()
        results, taken = run_dieharder(arguments.program, stream, tests, report)
        summaries.append((stream, results, taken, time.monotonic() - start))
        if tests is None and taken < arguments.gib << 30:
            good = False
            report.line(f"only {taken} bytes were read")
    report.line()
    report.line("dieharder:")
    report.line()
    report.line("| stream | GiB read | p-values | passed | weak | failed | smallest | largest | uniform (Kolmogorov-Smirnov) | not passed | minutes |")
    report.line("|---|---|---|---|---|---|---|---|---|---|---|")
    for summary in summaries:
        good &= summarize(*summary, report)
    report.line()
    report.line("good" if good else "NOT GOOD")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
