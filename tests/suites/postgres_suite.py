#!/usr/bin/env python3
"""PostgreSQL's own suites, pg_regress and libpq_pipeline, straight and through clonesafe-proxy: what comes out has to be the same.

usage: postgres_suite.py CLONESAFE-PROXY [session|transaction]...
"""
import contextlib
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys

from proxy import HERE, fail, free_port, need, start_proxy, work_folder

POSTGRES = pathlib.Path("/usr/lib/postgresql/15")
PG_REGRESS = POSTGRES / "lib/pgxs/src/test/regress/pg_regress"
LIMIT_S = 1800
PIPELINE_ROWS = 700  # as in PostgreSQL's own run
# Where connections are shared for a transaction each: what is told of a session that is the connection's own. In docs/proxy.md, "Suites".
DIFFERENT = {
    "session": {},
    "transaction": {
        "guc": "a connection of earlier applications has PL/pgSQL loaded, and has not seen a custom setting that was reset",
        "prepare": "pg_prepared_statements shows the text by which the proxy prepared a statement again",
        "rowsecurity": "a role that took its own rights away can't prepare again what it had prepared",
        "sequence": "the first currval() is not in the transaction that drew the value",
        "stats": "statistics that a connection has not written yet are another's, who asks for them to be written",
        "triggers": "functions in C keep what they found in the process that ran them",
    },
}


def user_options():
    """A server refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "postgres", "group": pwd.getpwnam("postgres").pw_gid, "extra_groups": []}


def give_to_user(path):
    if os.geteuid() == 0:
        shutil.chown(path, "postgres")


def run(log, command, may_fail=False):
    """What a program of PostgreSQL's prints is in `log`."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    with open(log, "w") as output:
        done = subprocess.run(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=log.parent,
                              env=environment, timeout=LIMIT_S, **user_options())
    if done.returncode != 0 and not may_fail:
        fail(f"{pathlib.Path(command[0]).name} ended with {done.returncode}: {log.read_text(errors='replace')[-2000:]}")
    return done.returncode


@contextlib.contextmanager
def server(folder):
    """A PostgreSQL of the suites' own; gives its port."""
    port, data = free_port(), folder / "data"
    run(folder / "initdb.log", [POSTGRES / "bin/initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--no-locale", "-E", "UTF8"])
    with open(data / "postgresql.conf", "a") as configuration:
        configuration.write(f"port = {port}\nlisten_addresses = '{HERE}'\nunix_socket_directories = '{folder}'\nfsync = off\n"
                            "max_connections = 150\nmax_prepared_transactions = 2\n")
    control = [POSTGRES / "bin/pg_ctl", "-D", data, "-w"]
    run(folder / "start.log", [*control, "-l", folder / "server.log", "start"])
    try:
        yield port
    finally:
        run(folder / "stop.log", [*control, "-m", "immediate", "stop"])


def regress(suites, folder, port):
    """Runs pg_regress; gives for each test whether it found what it expects."""
    source = suites / "regress"
    run(folder / "regress.log", [PG_REGRESS, f"--inputdir={source}", f"--outputdir={folder}", f"--dlpath={suites / 'lib'}", f"--bindir={POSTGRES / 'bin'}",
                                 f"--host={HERE}", f"--port={port}", "--user=postgres", "--max-concurrent-tests=20",
                                 f"--schedule={source / 'parallel_schedule'}"], may_fail=True)
    log = (folder / "regress.log").read_text()
    found = {name: verdict == "ok" for name, verdict in re.findall(r"^(?:test|   ) +(\S+) +\.\.\. (ok|FAILED|failed)", log, re.M)}
    if not found:
        fail(f"pg_regress ran nothing: {log[-2000:]}")
    return found


def pipeline(suites, folder, port):
    """Runs each test of libpq_pipeline; gives for each its exit code and the messages that libpq saw, if they are the ones expected."""
    tests = subprocess.run([suites / "libpq_pipeline", "tests"], check=True, capture_output=True, text=True).stdout.split()
    found = {}
    for name in tests:
        trace, expected = folder / f"{name}.trace", suites / "traces" / f"{name}.trace"
        traced = ["-t", trace] if expected.exists() else []
        code = run(folder / f"{name}.log", [suites / "libpq_pipeline", "-r", PIPELINE_ROWS, *traced, name, f"host={HERE} port={port} user=postgres dbname=postgres"],
                   may_fail=True)
        found[name] = code == 0 and (not traced or trace.read_text() == expected.read_text())
    return found


class Lane:
    """All suites, on a server of their own."""

    def __init__(self, suites, folder, program=None, pooling=None):
        self.folder = folder
        folder.mkdir()
        give_to_user(folder)
        with server(folder) as upstream, contextlib.ExitStack() as services:
            port = upstream
            if program is not None:
                limit = "upstream.max_connections = 60" if pooling == "transaction" else ""
                port = free_port()
                service = services.enter_context(start_proxy(folder, program, port, "postgres", upstream,
                                                             f'postgres = {{ authentication = "trust", pooling = "{pooling}" }}\n{limit}'))
            self.pipeline = pipeline(suites, folder, port)
            self.regress = regress(suites, folder, port)
            if program is not None:
                service.must_run()

    def result(self, test):
        path = self.folder / "results" / f"{test}.out"
        return path.read_bytes() if path.exists() else None


def compare(direct, lane, pooling):
    """Prints what came out; gives how many differences nobody has explained."""
    bad = 0
    same = 0
    for test, well in lane.regress.items():
        if well and direct.regress.get(test) or lane.result(test) == direct.result(test):
            same += 1
            continue
        reason = DIFFERENT[pooling].get(test)
        bad += reason is None
        print(f"  pg_regress {test}: {f'differs ({reason})' if reason else 'DIFFERS'}")
        if not reason:
            subprocess.run(["diff", "-U3", direct.folder / f"results/{test}.out", lane.folder / f"results/{test}.out"], check=False)
    for test in direct.regress.keys() - lane.regress.keys():
        bad += 1
        print(f"  pg_regress {test}: DID NOT RUN")
    failed = [test for test, well in lane.pipeline.items() if not well]
    for test in failed:
        print(f"  libpq_pipeline {test}: FAILED: {(lane.folder / f'{test}.log').read_text(errors='replace')[-500:]}")
    print(f"{pooling}: pg_regress: {same} of {len(direct.regress)} the same; libpq_pipeline: {len(lane.pipeline) - len(failed)} of {len(direct.pipeline)} passed", flush=True)
    return bad + len(failed)


def main(program, poolings):
    need("gcc", "diff")
    if not PG_REGRESS.exists():
        fail(f"{PG_REGRESS} is missing (package postgresql-client-15)")
    fetch = pathlib.Path(__file__).resolve().parent.parent / "lab/fetch.sh"
    cache = subprocess.run([fetch, "postgres-suites"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    with work_folder() as folder:
        folder.chmod(0o755)
        suites = folder / "suites"
        shutil.copytree(pathlib.Path(cache) / "postgres-suites", suites)
        direct = Lane(suites, folder / "direct")
        print(f"straight: pg_regress: {sum(direct.regress.values())} of {len(direct.regress)} as expected; "
              f"libpq_pipeline: {sum(direct.pipeline.values())} of {len(direct.pipeline)} passed", flush=True)
        if not all(direct.pipeline.values()):
            fail("libpq_pipeline does not pass without the proxy")
        bad = sum(compare(direct, Lane(suites, folder / pooling, program, pooling), pooling) for pooling in poolings)
        if bad:
            fail(f"{bad} differences that nobody has explained")


if __name__ == "__main__":
    if len(sys.argv) < 2 or not set(sys.argv[2:]) <= DIFFERENT.keys():
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]).resolve(), sys.argv[2:] or list(DIFFERENT))
