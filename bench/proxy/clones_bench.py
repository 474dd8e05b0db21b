#!/usr/bin/env python3
"""Has many clones, each in a network namespace with a proxy and an application, come to one PostgreSQL at once; run by scripts/bench.sh."""
import argparse
import concurrent.futures
import contextlib
import ctypes
import json
import os
import pathlib
import random
import resource
import subprocess
import tempfile
import threading
import time

import libpq
import peers
from peers import DATABASE, FAR, NEAR, PATIENCE_S

CLONES = int(os.environ.get("CLONESAFE_BENCH_CLONES", "200"))
SECONDS = float(os.environ.get("CLONESAFE_BENCH_SECONDS", "30"))
LIMIT = 100  # PostgreSQL's max_connections, of which it keeps 3 for superusers
HOLD_MS = 60_000
OF_EACH = 1  # connections that a proxy may have
QUESTIONS, THINK_S = 5, 0.5
QUESTION = "SELECT pg_sleep(0.005)"
USER, PASSWORD = "shop", "secret"
PORT = 7000
CLONE_NEWNET = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)


def enter_network():
    if libc.unshare(CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    return threading.get_native_id()


def ip(*lines):
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)


class Clone:
    """All of it runs on a thread of its own, which is in the clone's network."""

    def __init__(self, number, folder):
        self.number = number
        self.page = folder / f"generation.{number}"
        self._thread = concurrent.futures.ThreadPoolExecutor(1)
        self.thread_id = self.do(enter_network).result()
        self.proxy = self.application = None

    def do(self, *call):
        return self._thread.submit(*call)

    def start(self, program, config, log):
        ip("link set lo up", f"address add 10.9.{1 + self.number // 200}.{1 + self.number % 200}/16 dev eth0", "link set eth0 up")
        self.proxy = subprocess.Popen([program, "--config", config], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                      env={**os.environ, "CLONESAFE_GENERATION_PAGE": str(self.page)})

    def connect(self):
        self.application = libpq.Connection.when_it_is_there(f"host={NEAR} port={PORT} user={USER} dbname=postgres", PATIENCE_S)

    def connect_direct(self, all_tried):
        connection = failed = None
        try:
            connection = libpq.Connection(f"host={FAR} port={DATABASE} user={USER} password={PASSWORD} dbname=postgres")
            connection.ask(QUESTION)
        except libpq.Failed as error:
            failed = str(error)
        all_tried.wait()
        if connection:
            connection.end()
        return failed

    def ask(self, begin, asks_again):
        """How long each reply took, the first one since the clones were made, and what failed."""
        begin.wait()
        waits, failed = [], []
        asked = begin.at
        while True:
            try:
                self.application.ask(QUESTION)
            except libpq.Failed as error:
                failed.append(f"clone {self.number}: {error}")
            waits.append((time.monotonic() - asked) * 1000)
            if failed or not asks_again(len(waits), time.monotonic() - begin.at):
                return waits, failed
            asked = time.monotonic()

    def end(self):
        if self.application:
            self.application.end()
        if self.proxy:
            self.proxy.terminate()
            self.proxy.wait()
        self._thread.shutdown()


class Begin(threading.Event):
    at = 0.0

    def now(self):
        self.at = time.monotonic()
        self.set()


class Database:
    def __init__(self, folder):
        self.log = folder / "postgres.log"
        data = peers.make_database(folder, f"host all {USER} 0.0.0.0/0 scram-sha-256\nhost all all 0.0.0.0/0 trust\n")
        self._process = peers.Process(folder, "postgres", [
            peers.POSTGRES + "postgres", "-D", data, "-h", FAR, "-p", DATABASE, "-k", "", "-F", "-c", f"max_connections={LIMIT}", "-c", "autovacuum=off",
            "-c", "log_min_messages=fatal"], "0-1", DATABASE, user="postgres", cwd="/", host=FAR)
        self.monitor = None
        try:
            self.monitor = libpq.Connection.when_it_is_there(f"host={FAR} port={DATABASE} user=postgres dbname=postgres", PATIENCE_S)
        except libpq.Failed as error:
            self.end()
            peers.fail(str(error))
        self.monitor.ask(f"CREATE ROLE {USER} LOGIN PASSWORD '{PASSWORD}'")

    def refused(self):
        text = self.log.read_text()
        return text.count("sorry, too many clients already") + text.count("remaining connection slots are reserved")

    def connections(self):
        """Of all clones, and of the one that has most."""
        return map(int, self.monitor.ask("SELECT coalesce(sum(n), 0), coalesce(max(n), 0) FROM (SELECT count(*) AS n FROM pg_stat_activity WHERE "
                                         f"usename = '{USER}' GROUP BY client_addr) AS of_each", 2))

    def wait_until_left(self):
        until = time.monotonic() + PATIENCE_S
        while sum(self.connections()):
            if time.monotonic() > until:
                peers.fail("connections that nobody uses are not given up")
            time.sleep(0.1)

    @contextlib.contextmanager
    def watched(self):
        """The most connections that were seen, of all clones and of one."""
        most, over = [0, 0], threading.Event()

        def watch():
            while not over.wait(0.01):
                most[:] = map(max, most, self.connections())
        thread = threading.Thread(target=watch)
        thread.start()
        try:
            yield most
        finally:
            over.set()
            thread.join()

    def end(self):
        if self.monitor:
            self.monitor.end()
        self._process.end()


class Bench:
    def __init__(self, folder, programs):
        self.folder, self.programs = folder, programs
        self.clones, self.results, self.database = [], [], None

    def start(self):
        ip("link set lo up", "link add bridge0 type bridge", f"address add {FAR}/16 dev bridge0", "link set bridge0 up")
        self.database = Database(self.folder)
        self.clones = [Clone(number, self.folder) for number in range(CLONES)]
        ip(*(f"link add clone{clone.number} type veth peer name eth0 netns {clone.thread_id}" for clone in self.clones))
        ip(*(f"link set clone{clone.number} master bridge0 up" for clone in self.clones))
        self._pages("page")
        (self.folder / "users").write_text(f'"{USER}" "{PASSWORD}"\n')
        config = self.folder / "proxy.toml"
        config.write_text(f"""threads = 1
log_level = "warning"
[[service]]
name = "database"
protocol = "postgres"
listen = ["{NEAR}:{PORT}"]
hold_ms = {HOLD_MS}
postgres.pooling = "transaction"
postgres.authentication = "trust"
postgres.users_file = "{self.folder}/users"
upstream.address = ["{FAR}:{DATABASE}"]
upstream.max_connections = {OF_EACH}
upstream.idle_ms = 100
upstream.lifetime_ms = 1000
""")
        with open(self.folder / "proxies.log", "w") as log:
            self._all(Clone.start, self.programs / "clonesafe-proxy", config, log)
        for clone in self.clones:  # as their source was: with a connection, and nobody else
            clone.do(clone.connect).result()

    def _all(self, what, *arguments):
        return [done.result() for done in [clone.do(what, clone, *arguments) for clone in self.clones]]

    def _pages(self, what):
        subprocess.run([self.programs / "bench_proxy_load", what, *(clone.page for clone in self.clones)], check=True, stdout=subprocess.DEVNULL)

    def add(self, name, value, unit, goal=None):
        self.results.append({"name": f"proxy.clones_{name}", "value": value, "unit": unit, "peer": None, "peer_value": None, "ratio": None, "goal": goal,
                             "met": None if goal is None else value <= goal})

    def direct(self):
        failed = [why for why in self._all(Clone.connect_direct, threading.Barrier(CLONES)) if why]
        self.add("direct_failed", len(failed), f"of {CLONES} applications without a proxy; {min(failed, default='')}")

    def load(self, name, asks_again):
        self.database.wait_until_left()
        refused = self.database.refused()
        begin = Begin()
        asking = [clone.do(clone.ask, begin, asks_again) for clone in self.clones]
        with self.database.watched() as most:
            self._pages("move")
            begin.now()
            answered = [one.result() for one in asking]
        failed = [why for _, whys in answered for why in whys]
        if failed:
            print("\n".join(failed[:5]), (self.folder / "proxies.log").read_text()[-2000:], sep="\n")
        self.add(f"{name}_failed", len(failed), f"failed requests of {sum(len(waits) for waits, _ in answered)}", 0)
        self.add(f"{name}_connections", most[0], "connections of the clones, the most at any time", LIMIT)
        self.add(f"{name}_connections_of_one", most[1], "connections of one clone, the most at any time", OF_EACH)
        self.add(f"{name}_refused", self.database.refused() - refused, "logins that the server refused, because it was full")
        for what, waits in (("first", [waits[0] for waits, _ in answered]), ("wait", [wait for waits, _ in answered for wait in waits])):
            waits.sort()
            for of, at in (("p50", 0.5), ("p99", 0.99), ("max", 1)):
                self.add(f"{name}_{what}_{of}_ms", waits[round(at * (len(waits) - 1))], "ms, " + (
                    "from the clones' first instruction to the first reply" if what == "first" else "for a reply"))
        self.add(f"{name}_least_requests", min(len(waits) for waits, _ in answered), "requests of the clone that had fewest replies")

    def loads(self):
        def asks_few(asked, _):
            time.sleep(random.uniform(0, 2 * THINK_S))
            return asked < QUESTIONS
        self.load("quiet", asks_few)
        self.load("busy", lambda _, elapsed_s: elapsed_s < SECONDS)

    def end(self):
        for clone in self.clones:
            clone.end()
        if self.database:
            self.database.end()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="where clonesafe-proxy and bench_proxy_load are")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))
    with tempfile.TemporaryDirectory(prefix="clonesafe-bench-clones-") as folder:
        os.chmod(folder, 0o755)
        bench = Bench(pathlib.Path(folder), arguments.programs)
        try:
            bench.start()
            bench.direct()
            bench.loads()
        finally:
            bench.end()
    with open(arguments.out, "w") as file:
        json.dump({"results": bench.results}, file)


main()
