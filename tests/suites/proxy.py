"""Servers, and clonesafe-proxy in front of them, for the suites and tools of others. All of it listens on loopback."""
import contextlib
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = "127.0.0.1"
PATIENCE_S = 30
SKIPPED = 77


def fail(what):
    sys.exit(f"{pathlib.Path(sys.argv[0]).name}: {what}")


def need(*programs):
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        print("skipped: not installed:", *missing)
        sys.exit(SKIPPED)


def free_port():
    with socket.socket() as one:
        one.bind((HERE, 0))
        return one.getsockname()[1]


class Process:
    """Started, listens at `port`, and ends with the `with` statement that it is in."""

    def __init__(self, folder, name, command, port):
        self.log = folder / f"{name}.log"
        with open(self.log, "w") as output:
            self.process = subprocess.Popen([*map(str, command)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd=folder)
        self.name, self.port = name, port

    def __enter__(self):
        until = time.monotonic() + PATIENCE_S
        while True:
            self.must_run()
            with contextlib.suppress(OSError):
                socket.create_connection((HERE, self.port), 1).close()
                return self
            if time.monotonic() > until:
                self.__exit__()
                fail(f"{self.name} does not listen at port {self.port}")
            time.sleep(0.02)

    def __exit__(self, *_):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S)
        self.process.kill()  # nobody, if it has ended
        self.process.wait()

    def must_run(self):
        if self.process.poll() is not None:
            fail(f"{self.name} ended with {self.process.returncode}: {self.log.read_text(errors='replace')[-1000:]}")


def start_proxy(folder, program, port, protocol, upstream_port, more=""):
    """One service at `port`; `more` is TOML of the service's own."""
    config = folder / f"proxy-{port}.toml"
    config.write_text(f'log_level = "info"\n[[service]]\nname = "suite"\nprotocol = "{protocol}"\nlisten = ["{HERE}:{port}"]\n'
                      f'upstream.address = ["{HERE}:{upstream_port}"]\n{more}\n')
    return Process(folder, f"proxy-{port}", [program, "--config", config], port)


@contextlib.contextmanager
def work_folder():
    """Removed afterwards, unless something failed."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="clonesafe-suite-"))
    try:
        yield folder
    except BaseException:
        print(f"left for a look: {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder)
