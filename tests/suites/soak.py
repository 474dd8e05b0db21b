#!/usr/bin/python3
"""Mixed load through clonesafe-proxy, while servers die, stand still, are replaced and can't be reached, and the machine is cloned.

Every answer has to be its question's, nothing may be done twice, nobody may wait for ever, and afterwards the proxy has what it had
before, and no leak where a sanitizer built it. Run in a network namespace: unshare --net tests/suites/soak.py --programs build/fuzz/bin
With --loss half of all packets to and from the servers are lost, and nothing else happens.
CLONESAFE_SOAK_SECONDS (3600; with --loss 60), CLONESAFE_SOAK_SEED.
"""
import argparse
import collections
import contextlib
import http.client
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import ssl
import struct
import sys
import tempfile
import threading
import time
import traceback

import psycopg2

import soak_setup
from soak_setup import NEAR, PATIENCE_S, Violation

LOSS = "--loss" in sys.argv
SECONDS = float(os.environ.get("CLONESAFE_SOAK_SECONDS", "60" if LOSS else "3600"))
SEED = int(os.environ.get("CLONESAFE_SOAK_SEED", time.time_ns() % 1_000_000_000))
WARM_UP = 0.1  # of the time; then the proxy is seen at rest for the first time
WORKERS = 2  # of each kind
MORE_MEMORY_KIB = 32 * 1024
# TCP sends again after 200 ms, and then each time after twice as long.
LONGEST_S = 240 if LOSS else PATIENCE_S
BIG = 300_000


class Failed(Exception):
    """What an application may see: an error, or the end of its connection."""


class Load:
    """One application, which goes on whatever happens to its connection."""

    def __init__(self, folder, number):
        self.folder, self.number = folder, number
        self.random = random.Random(f"{SEED} {type(self).__name__} {number}")
        self.counts = collections.Counter()
        self.since = None  # in the middle of a request
        self.question = 0

    def name(self):
        return f"{type(self).__name__}.{self.number}"

    def token(self):
        self.question += 1
        return f"{self.name()}.{self.question}"

    def run(self, stopping, violations):
        while not stopping.is_set():
            self.since = time.monotonic()
            try:
                self.ask()
                self.counts["answered"] += 1
            except Failed as error:
                self.counts[str(error)] += 1
            except TimeoutError as error:
                violations.append(f"{self.name()}: {error}")
                self.leave()
            except (OSError, http.client.HTTPException) as error:
                self.counts[type(error).__name__] += 1
                self.leave()
            except Violation as error:
                violations.append(f"{self.name()}: {error}")
                self.leave()
            except Exception:  # pylint: disable=broad-except
                violations.append(traceback.format_exc())
                return
            self.since = None
            time.sleep(self.random.uniform(0.002, 0.04))
        self.leave()

    def expect(self, answer, expected):
        if answer != expected:
            raise Violation(f"asked for {expected!r}, got {answer!r}")


class RedisLoad(Load):
    """Tokens, and a counter of its own that shows whether anything was done twice."""
    port, tls, raw = soak_setup.REDIS_PORT, False, False

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.socket = self.reader = None
        self.last, self.unknown = 0, 0
        self.counter = self.name()

    def connect(self):
        self.socket = socket.create_connection((NEAR, self.port), LONGEST_S)
        if self.tls:
            context = ssl.create_default_context(cafile=self.folder / "near.pem")
            self.socket = context.wrap_socket(self.socket, server_hostname="near")
        self.socket.settimeout(LONGEST_S)
        self.reader = self.socket.makefile("rb")

    def leave(self):
        if self.reader:
            if self.random.random() < 0.5:  # with a reset
                with contextlib.suppress(OSError):
                    self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.reader.close()
        if self.socket:
            self.socket.close()
        self.socket = self.reader = None

    def send(self, *commands):
        out = b""
        for command in commands:
            words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
            out += b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)
        if self.random.random() < 0.03:
            for at in range(min(len(out), 60)):
                self.socket.sendall(out[at:at + 1])
                time.sleep(self.random.uniform(0, 0.003))
            out = out[60:]
        self.socket.sendall(out)

    def reply(self):
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            self.leave()
            raise Failed("ended")
        kind, rest = line[:1], line[1:-2]
        if kind == b"-":
            return Failed(rest.split()[0].decode() if not rest.startswith(b"ERR clonesafe") else "error of the proxy's")
        if kind == b":":
            return int(rest)
        if kind == b"+":
            return rest
        if kind != b"$":
            raise Violation(f"no reply: {line!r}")
        if rest == b"-1":
            return None
        text = self.reader.read(int(rest) + 2)
        if len(text) != int(rest) + 2:
            self.leave()
            raise Failed("ended")
        return text[:-2]

    def ask(self):
        if not self.reader:
            self.leave()
            self.connect()
        how = self.random.random()
        if how < 0.45:
            self.ask_for_tokens(1)
        elif how < 0.6:
            self.ask_for_tokens(self.random.randint(2, 30))
        elif how < 0.95:
            self.count()
        elif how < 0.97:
            self.read_slowly()
        else:
            # In the middle of it.
            self.send(("ECHO", self.token()))
            self.leave()
            raise Failed("left")

    def ask_for_tokens(self, count):
        tokens = [self.token().encode() for _ in range(count)]
        self.send(*(("ECHO", token) for token in tokens))
        replies = []
        for token in tokens:
            replies.append(self.reply())
            if not isinstance(replies[-1], Failed):
                self.expect(replies[-1], token)
        for reply in replies:
            if isinstance(reply, Failed):
                raise reply

    def count(self):
        self.unknown += 1
        self.send(("INCR", self.counter))
        reply = self.reply()
        if isinstance(reply, Failed):
            raise reply
        if not self.last < reply <= self.last + self.unknown:
            raise Violation(f"{self.counter} is {reply}, was {self.last}, and was to be raised {self.unknown} times at most")
        self.last, self.unknown = reply, 0

    def read_slowly(self):
        token = self.token().encode()
        value = token + b"." * BIG
        self.send(("SET", token, value, "EX", 30), *[("GET", token)] * 12, ("ECHO", token))
        time.sleep(self.random.uniform(0, 1))
        replies = []
        for expected in [b"OK", *[value] * 12, token]:
            replies.append(self.reply())
            # What was not set, or was set by nobody, is not there.
            if replies[-1] is not None and not isinstance(replies[-1], Failed):
                self.expect(replies[-1][:100], expected[:100])
                self.expect(len(replies[-1]), len(expected))
        for reply in replies:
            if isinstance(reply, Failed):
                raise reply


class RawLoad(RedisLoad):
    """By the service that knows nothing of the protocol."""
    port = soak_setup.TCP_PORT


class RedisTlsLoad(RedisLoad):
    port, tls = soak_setup.REDIS_TLS_PORT, True


class PostgresLoad(Load):
    port = soak_setup.SESSION_PORT

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.connection, self.last, self.unknown = None, 0, 0
        self.row = self.name()

    def leave(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self):
        try:
            if not self.connection or self.connection.closed:
                self.connection = psycopg2.connect(host=NEAR, port=self.port, user="postgres", dbname="postgres", connect_timeout=LONGEST_S)
                self.connection.autocommit = True
            with self.connection.cursor() as cursor:
                how = (self.ask_for_tokens, self.ask_for_tokens, self.count, self.count_in_transaction, self.prepare, self.read_much)
                self.random.choice(how)(cursor)
        except psycopg2.Error as error:
            if self.connection and not self.connection.closed:
                with contextlib.suppress(psycopg2.Error), self.connection.cursor() as cursor:
                    cursor.execute("ROLLBACK")
            raise Failed(error.pgcode or "ended") from None

    def ask_for_tokens(self, cursor):
        token = self.token()
        cursor.execute("SELECT %s", (token,))
        self.expect(cursor.fetchall(), [(token,)])

    def count(self, cursor):
        self.unknown += 1
        cursor.execute("UPDATE soak SET n = n + 1 WHERE name = %s RETURNING n", (self.row,))
        self.note(cursor.fetchone()[0])

    def count_in_transaction(self, cursor):
        token = self.token()
        cursor.execute("BEGIN")
        self.unknown += 1
        cursor.execute("UPDATE soak SET n = n + 1 WHERE name = %s RETURNING n", (self.row,))
        number = cursor.fetchone()[0]
        cursor.execute("SELECT %s", (token,))
        self.expect(cursor.fetchall(), [(token,)])
        if self.random.random() < 0.2:
            cursor.execute("ROLLBACK")
            return
        cursor.execute("COMMIT")
        self.note(number)

    def note(self, number):
        if not self.last < number <= self.last + self.unknown:
            raise Violation(f"{self.row} is {number}, was {self.last}, and was to be raised {self.unknown} times at most")
        self.last, self.unknown = number, 0

    def prepare(self, cursor):
        token, name = self.token(), f"p{self.random.randint(1, 5)}"
        cursor.execute(f"DEALLOCATE ALL; PREPARE {name}(text) AS SELECT $1")
        cursor.execute(f"EXECUTE {name}(%s)", (token,))
        self.expect(cursor.fetchall(), [(token,)])

    def read_much(self, cursor):
        token = self.token()
        cursor.execute("SELECT %s || i FROM generate_series(1, 2000) i", (token,))
        self.expect(cursor.fetchall(), [(f"{token}{i}",) for i in range(1, 2001)])


class SharedLoad(PostgresLoad):
    port = soak_setup.SHARED_PORT


class HttpLoad(Load):
    port, tls = soak_setup.HTTP_PORT, False

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.connection = None

    def leave(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def ask(self):
        if not self.connection:
            if self.tls:
                context = ssl.create_default_context(cafile=self.folder / "near.pem")
                context.check_hostname = False
                self.connection = http.client.HTTPSConnection(NEAR, self.port, timeout=LONGEST_S, context=context)
            else:
                self.connection = http.client.HTTPConnection(NEAR, self.port, timeout=LONGEST_S)
        target = f"/{self.token()}"
        method, body = self.random.choice((("GET", None), ("POST", b"x" * self.random.randint(1, 100_000))))
        self.connection.request(method, target, body)
        response = self.connection.getresponse()
        text = response.read()
        if response.status != 200:
            if response.status not in (502, 503, 504):
                raise Violation(f"{target}: {response.status} {response.reason}")
            self.leave()
            raise Failed(str(response.status))
        self.expect(text, target.encode())


class HttpTlsLoad(HttpLoad):
    port, tls = soak_setup.HTTP_TLS_PORT, True


KINDS = (RawLoad, RedisLoad, RedisTlsLoad, PostgresLoad, SharedLoad, HttpLoad, HttpTlsLoad)


class Soak:
    def __init__(self, setup):
        self.setup, self.random = setup, random.Random(SEED)
        self.violations, self.events = [], collections.Counter()
        self.loads = [kind(setup.folder, number) for kind in KINDS for number in range(WORKERS)]

    def fill(self):
        with psycopg2.connect(host=soak_setup.FAR, port=soak_setup.DATABASE, user="postgres", dbname="postgres") as connection:
            with connection.cursor() as cursor:
                cursor.execute("CREATE TABLE soak (name text PRIMARY KEY, n bigint)")
                for load in self.loads:
                    if isinstance(load, PostgresLoad):
                        cursor.execute("INSERT INTO soak VALUES (%s, 0)", (load.row,))
        connection.close()

    def load_for(self, seconds):
        """Until then, or the first violation; gives what the proxy has afterwards, at rest."""
        stopping = threading.Event()
        threads = [threading.Thread(target=load.run, args=(stopping, self.violations), daemon=True) for load in self.loads]
        for thread in threads:
            thread.start()
        until = time.monotonic() + seconds
        try:
            while time.monotonic() < until and not self.violations:
                time.sleep(self.random.uniform(0.2, 6))
                if not LOSS:
                    event = self.random.choice(soak_setup.EVENTS)
                    getattr(self.setup, event)(self.random)
                    self.events[event] += 1
                self.look()
        finally:
            stopping.set()
        for load, thread in zip(self.loads, threads):
            thread.join(2 * LONGEST_S)
            if thread.is_alive():
                self.violations.append(f"{load.name()} waits for ever; {self.setup.control('sessions')['sessions']}")
        return self.setup.at_rest()

    def look(self):
        self.setup.proxy.running()
        now = time.monotonic()
        for load in self.loads:
            since = load.since
            if since and now - since > LONGEST_S:
                self.violations.append(f"{load.name()} waits for {now - since:.0f} s; {self.setup.control('sessions')['sessions']}")

    def lose(self):
        """Half of all packets, for the whole time; and then none, and everybody is served."""
        self.fill()
        self.setup.lose_half()
        self.tell(self.load_for(SECONDS), 0)
        self.setup.lose_none()
        for load in self.loads:
            load.counts.clear()
        self.tell(self.load_for(5), 0.9)
        self.end_proxy()

    def tell(self, rest, answered):
        counts = collections.defaultdict(collections.Counter)
        for load in self.loads:
            counts[type(load).__name__].update(load.counts)
        for name, count in counts.items():
            print(f"soak: {name}: {dict(count)}")
            if count["answered"] < sum(count.values()) * answered:
                self.violations.append(f"{name}: few answers")
        print(f"soak: {dict(self.events)}; at rest: {rest[0]} descriptors, {rest[1]} KiB")

    def run(self):
        self.fill()
        first = self.load_for(SECONDS * WARM_UP)
        print(f"soak: at rest after {SECONDS * WARM_UP:.0f} s: {first[0]} descriptors, {first[1]} KiB", flush=True)
        last = self.load_for(SECONDS * (1 - WARM_UP)) if not self.violations else first
        self.tell(last, 0.25)
        if last[0] > first[0]:
            self.violations.append(f"{last[0]} descriptors, {first[0]} before")
        if last[1] > first[1] + MORE_MEMORY_KIB:
            self.violations.append(f"{last[1]} KiB, {first[1]} before")
        self.end_proxy()

    def end_proxy(self):
        process = self.setup.proxy.process
        process.send_signal(signal.SIGTERM)
        code = process.wait(PATIENCE_S)
        log = self.setup.proxy.log.read_text(errors="replace")
        if code != 0 or "Sanitizer" in log or "runtime error" in log:
            self.violations.append(f"the proxy ended with {code}: {log[-4000:]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--programs", type=pathlib.Path, required=True, help="where clonesafe-proxy and clonesafe-proxyctl are")
    parser.add_argument("--loss", action="store_true", help="lose half of all packets")
    arguments = parser.parse_args()
    needed = ("redis-server", "nginx", "nft", "openssl", soak_setup.POSTGRES + "postgres")
    missing = [program for program in needed if not shutil.which(program)]
    if missing or os.geteuid() != 0:
        print("skipped: takes root, and", *missing)
        sys.exit(77)
    print(f"soak: CLONESAFE_SOAK_SEED={SEED}, {SECONDS:.0f} s", flush=True)
    soak_setup.enter_network()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="clonesafe-soak-"))
    folder.chmod(0o755)
    setup = soak_setup.Setup(folder, arguments.programs.resolve())
    soak = Soak(setup)
    try:
        setup.start()
        soak.lose() if arguments.loss else soak.run()
    except Violation as error:
        soak.violations.append(str(error))
    finally:
        setup.end()
    if soak.violations:
        print(*(f"soak: {violation}" for violation in soak.violations[:20]), f"left for a look: {folder}", sep="\n")
        sys.exit(1)
    shutil.rmtree(folder)
    print("soak: all as it should be", json.dumps({"seconds": SECONDS, "answered": sum(load.counts["answered"] for load in soak.loads)}))


if __name__ == "__main__":
    main()
