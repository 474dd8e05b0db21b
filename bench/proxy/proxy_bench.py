#!/usr/bin/env python3
"""Measures clonesafe-proxy beside HAProxy, nginx, stunnel and PgBouncer, taking turns; run by scripts/bench.sh, in a network namespace."""
import argparse
import json
import os
import pathlib
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import peers
from peers import FAR, NEAR

ROUNDS = int(os.environ.get("CLONESAFE_BENCH_ROUNDS", "5"))
SECONDS = float(os.environ.get("CLONESAFE_BENCH_SECONDS", "2"))
OTHER = os.environ.get("CLONESAFE_BENCH_OTHER", "")  # another clonesafe-proxy, in the same rounds
ONLY = os.environ.get("CLONESAFE_BENCH_ONLY", "")
CONNECTIONS = 16
# Two descriptors each, and some are left for others.
IDLE = min(10000, (resource.getrlimit(resource.RLIMIT_NOFILE)[1] - 400) // 2)
IDLE_TLS = 2000
PARKED = 100
LEFT_S = 1.5  # until a server has noticed which connections were left

# What is measured: of whom, by what load.
LOADS = {
    "l4 1 direct": (None, "redis", FAR, peers.REDIS, 1),
    "l4 1 ours": ("ours", "redis", NEAR, peers.OURS_TCP, 1),
    "l4 1 haproxy": ("haproxy", "redis", NEAR, peers.HAPROXY_TCP, 1),
    "l4 together direct": (None, "redis", FAR, peers.REDIS, 1),
    "l4 together ours": ("ours", "redis", NEAR, peers.OURS_TCP, 1),
    "l4 together haproxy": ("haproxy", "redis", NEAR, peers.HAPROXY_TCP, 1),
    "l4 16 ours": ("ours", "redis", NEAR, peers.OURS_TCP, CONNECTIONS),
    "l4 16 haproxy": ("haproxy", "redis", NEAR, peers.HAPROXY_TCP, CONNECTIONS),
    "l4 16 nginx": ("nginx", "redis", NEAR, peers.NGINX_TCP, CONNECTIONS),
    "redis 16 ours": ("ours", "redis", NEAR, peers.OURS_REDIS, CONNECTIONS),
    "tls 16 ours": ("ours", "redis", NEAR, peers.OURS_TLS, CONNECTIONS),
    "tls 16 haproxy": ("haproxy", "redis", NEAR, peers.HAPROXY_TLS, CONNECTIONS),
    "tls 16 stunnel": ("stunnel", "redis", NEAR, peers.STUNNEL_TLS, CONNECTIONS),
    "pg simple ours": ("ours", "simple", NEAR, peers.OURS_POSTGRES, CONNECTIONS),
    "pg simple pgbouncer": ("pgbouncer", "simple", NEAR, peers.PGBOUNCER, CONNECTIONS),
    "pg prepared ours": ("ours", "prepared", NEAR, peers.OURS_POSTGRES, CONNECTIONS),
    "pg prepared pgbouncer": ("pgbouncer", "prepared", NEAR, peers.PGBOUNCER, CONNECTIONS),
}
if OTHER:
    both = {}
    for name, (who, how, host, port, connections) in LOADS.items():
        both[name] = LOADS[name]
        if who == "ours":
            both[name.replace("ours", "other")] = ("other", how, host, port + peers.OTHER, connections)
    LOADS = both
# The figures: ours and peer, and the least ratio that will do.
RATES = [
    ("proxy.l4_tput16_vs_haproxy", "l4 16 ours", "l4 16 haproxy", 1.1),
    ("proxy.l4_tput16_vs_nginx", "l4 16 ours", "l4 16 nginx", None),
    ("proxy.tls_originate_vs_haproxy", "tls 16 ours", "tls 16 haproxy", 1.0),
    ("proxy.tls_originate_vs_stunnel", "tls 16 ours", "tls 16 stunnel", 1.3),
    ("proxy.redis_get_vs_haproxy", "redis 16 ours", "l4 16 haproxy", 1.0),
    ("proxy.pg_simple_vs_pgbouncer", "pg simple ours", "pg simple pgbouncer", 1.05),
    ("proxy.pg_prepared_vs_pgbouncer", "pg prepared ours", "pg prepared pgbouncer", 1.05),
]


class Bench:
    def __init__(self, setup):
        self.setup = setup
        self.results = []

    def add(self, name, value, unit, peer="", peer_value=None, goal=None, more_is_better=False):
        ratio = met = None
        if peer_value is not None:
            ratio = value / peer_value if more_is_better else peer_value / value
        if goal is not None:
            met = ratio >= goal if ratio is not None else value <= goal
        self.results.append({"name": name, "value": value, "unit": unit, "peer": peer or None, "peer_value": peer_value, "ratio": ratio,
                             "goal": goal, "met": met})

    def load(self, *arguments):
        return json.loads(run([self.setup.programs / "bench_proxy_load", *arguments]))

    def rate(self, name):
        who, how, host, port, connections = LOADS[name]
        process = self.setup[who] if who else None
        if process and "together" in name:
            process.move_to(peers.OTHER_CPU)
        before = process.cpu_seconds() if process else 0
        if how == "redis":
            measured = self.load("rate", how, host, port, connections, SECONDS)
            count, seconds = measured["requests"], measured["seconds"]
        else:
            text = run(["pgbench", "-n", "-S", "-M", how, "-c", connections, "-j", 1, "-T", max(1, round(SECONDS)), "-h", host, "-p", port, "-U",
                        "postgres", "postgres"])
            count = int(re.search(r"actually processed: (\d+)", text)[1])
            seconds = count / float(re.search(r"tps = ([\d.]+)", text)[1])
            measured = {"p50_us": None}
        cpu = (process.cpu_seconds() - before) * 1e6 / count if process else None
        if process and "together" in name:
            process.move_to(peers.PROXY_CPU)
        return {"rate": count / seconds, "p50_us": measured["p50_us"], "cpu_us": cpu}

    def rates(self):
        wanted = [name for name in LOADS if ONLY in name]
        measured = {name: [] for name in wanted}
        for number in range(ROUNDS):
            for name in wanted if number % 2 == 0 else reversed(wanted):
                measured[name].append(self.rate(name))
                print(f"round {number + 1}: {name}: {measured[name][-1]}", file=sys.stderr)
        for name in wanted:
            for what, value in measured[name][0].items():
                if value is not None:
                    values = sorted(one[what] for one in measured[name])
                    print(f"{name}: {what} {values[len(values) // 2]:.4g} ({values[0]:.4g} to {values[-1]:.4g})", file=sys.stderr)

        def median(name, what):
            return statistics.median(value[what] for value in measured[name])
        if ONLY in "l4":
            for figure, which, where, goal in (("latency1", "together", "all on one processor", 25), ("latency1_across", "1", "the proxy on another", None)):
                ours, haproxy, direct = (median(f"l4 {which} {who}", "p50_us") for who in ("ours", "haproxy", "direct"))
                self.add(f"proxy.l4_{figure}_us", ours - direct, f"us added to a request of one connection, p50; {where}", goal=goal)
                self.add(f"proxy.l4_{figure}_vs_haproxy", ours - direct, "us, the same", "haproxy", haproxy - direct, 1.0 if goal else None)
        for figure, ours, peer, goal in RATES:
            if ours in measured and peer in measured:
                self.add(figure, median(ours, "rate"), "requests a second", LOADS[peer][0], median(peer, "rate"), goal, True)
        for figure, ours, peer, _ in RATES:
            if ours in measured and peer in measured:
                self.add(figure.replace("_vs_", "_cpu_vs_").replace("_tput16", ""), median(ours, "cpu_us"), "us of processor for each request",
                         LOADS[peer][0], median(peer, "cpu_us"))

    def idle(self, who, port, count):
        """User memory of one idle session, KiB."""
        self.setup.restart(who)  # what others have left behind would be used again
        before = self.setup[who].user_memory_kib()
        load = subprocess.Popen(["taskset", "-c", peers.OTHER_CPU, self.setup.programs / "bench_proxy_load", "idle", "redis", NEAR, str(port), str(count)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if load.stdout.readline() != "ready\n":
            peers.fail(f"{count} sessions of {who}")
        after = self.setup[who].user_memory_kib()
        load.communicate("\n")
        return (after - before) / count

    def idles(self):
        self.add("proxy.idle_session_kib", self.idle("ours", peers.OURS_TCP, IDLE), f"KiB of user memory for each of {IDLE} idle plain sessions", goal=30)
        self.add("proxy.idle_session_vs_haproxy", self.results[-1]["value"], "KiB, the same", "haproxy", self.idle("haproxy", peers.HAPROXY_TCP, IDLE))
        self.add("proxy.idle_tls_session_kib", self.idle("ours", peers.OURS_TLS, IDLE_TLS), f"KiB, the same of {IDLE_TLS} with TLS to the upstream", "haproxy",
                 self.idle("haproxy", peers.HAPROXY_TLS, IDLE_TLS))

    def restores(self):
        for language, port, direct in (("redis", peers.OURS_REDIS, peers.REDIS), ("postgres", peers.OURS_POSTGRES, peers.DATABASE)):
            first, fresh, all_of_them, all_fresh = [], [], [], []
            for _ in range(ROUNDS):
                for values, what in ((fresh, ("fresh", language, FAR, direct, 1)),
                                     (first, ("restore", language, NEAR, port, PARKED, self.setup.page, 1)),
                                     (all_fresh, ("fresh", language, FAR, direct, PARKED)),
                                     (all_of_them, ("restore", language, NEAR, port, PARKED, self.setup.page, PARKED))):
                    values.append(self.load(*what)["last_us"])
                    if what[0] == "restore":
                        time.sleep(LEFT_S)
            print(language, first, fresh, all_of_them, all_fresh, file=sys.stderr)
            self.add(f"proxy.restore_first_{language}_us", statistics.median(first), "us, first reply after a clone", "a fresh connection + 1 ms",
                     statistics.median(fresh) + 1000, 1.0)
            self.add(f"proxy.restore_all_{language}_us", statistics.median(all_of_them), f"us, until {PARKED} sessions had a reply",
                     f"{PARKED} fresh connections", statistics.median(all_fresh), 1 / 1.2)


def run(command):
    done = subprocess.run(["taskset", "-c", peers.OTHER_CPU, *map(str, command)], capture_output=True, text=True)
    if done.returncode:
        peers.fail(f"{' '.join(map(str, command))}: {done.stderr.strip()}")
    return done.stdout


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="where clonesafe-proxy and bench_proxy_load are")
    parser.add_argument("--fetched", type=pathlib.Path, required=True, help="what tests/lab/fetch.sh prints")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    if len(os.sched_getaffinity(0)) < 2:
        peers.fail("needs two processors")
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{FAR}/32", "dev", "lo"], check=True)
    with tempfile.TemporaryDirectory(prefix="clonesafe-bench-proxy-") as folder:
        os.chmod(folder, 0o755)
        setup = peers.Setup(pathlib.Path(folder), arguments.programs, arguments.fetched, IDLE + 100)
        try:
            setup.start()
            if OTHER:
                setup.start_other(OTHER)
            bench = Bench(setup)
            bench.rates()
            if not ONLY or ONLY == "restore":
                bench.restores()
            if not ONLY or ONLY == "idle":
                bench.idles()
        finally:
            setup.end()
    with open(arguments.out, "w") as file:
        json.dump({"results": bench.results}, file)


main()
