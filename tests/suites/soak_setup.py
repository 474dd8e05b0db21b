"""What the soak has: real servers with and without TLS, a proxy before them, and all that may happen to them."""
import contextlib
import ctypes
import json
import mmap
import os
import pathlib
import pwd
import re
import resource
import signal
import socket
import subprocess
import time

# Of the namespace's loopback interface, but no loopback address: what is there counts as another machine.
FAR = "10.9.0.1"
NEAR = "127.0.0.1"
POSTGRES = "/usr/lib/postgresql/15/bin/"
PATIENCE_S = 60
DESCRIPTORS = 4096
REDIS, REDIS_TLS, DATABASE, WEB, WEB_TLS = 6379, 6380, 5432, 8080, 8443
PORTS = ", ".join(map(str, (REDIS, REDIS_TLS, DATABASE, WEB, WEB_TLS)))
TCP_PORT, REDIS_PORT, REDIS_TLS_PORT, SESSION_PORT, SHARED_PORT, HTTP_PORT, HTTP_TLS_PORT = range(7001, 7008)


class Violation(Exception):
    pass


def wait_for(what, condition):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > until:
            raise Violation(f"in vain for {PATIENCE_S} s: {what}")
        time.sleep(0.05)


def listens(host, port):
    with contextlib.suppress(OSError):
        socket.create_connection((host, port), 1).close()
        return True
    return False


class GenerationPage:
    """docs/formats/generation-page.md, as the agent writes it."""
    SIZE, CONTROL, SLOTS, SLOT_SIZE = 0x1000, 0x10, 0x100, 0x100
    SAFE, WORD = 2, 3

    def __init__(self, path):
        self.path = path
        with open(path, "wb+") as file:
            file.truncate(self.SIZE)
            self.map = mmap.mmap(file.fileno(), self.SIZE)
        self.map[0:8] = b"CLSGEN01"
        self._put(ctypes.c_uint32, 8, 1)
        self._put(ctypes.c_uint32, 12, self.SIZE)
        self.count, self.generation, self.epoch = 0, 1, 1
        self._publish()

    def _put(self, kind, at, value):
        kind.from_buffer(self.map, at).value = value

    def _publish(self):
        self.count += 1
        at = self.SLOTS + self.count % 2 * self.SLOT_SIZE
        for offset, value in ((0, self.generation), (8, self.epoch), (16, self.epoch)):
            self._put(ctypes.c_uint64, at + offset, value)
        self._put(ctypes.c_uint32, at + 0x68, self.SAFE)
        self._put(ctypes.c_uint32, at + 0x6c, self.WORD)
        self._put(ctypes.c_uint64, self.CONTROL, self.count << 2 | self.count % 2)

    def clone(self):
        self.generation += 1
        self.resume()

    def resume(self):
        """As in the source, after its snapshot."""
        self.epoch += 1
        self._publish()


class Server:
    def __init__(self, folder, name, command, ports, user=None, environment=None):
        self.name, self.command, self.ports, self.user, self.environment = name, command, ports, user, environment
        self.folder, self.log, self.process = folder, folder / f"{name}.log", None

    def start(self):
        with open(self.log, "a") as output:
            self.process = subprocess.Popen(
                [*map(str, self.command)], stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/" if self.user else self.folder,
                user=self.user, group=self.user and pwd.getpwnam(self.user).pw_gid, extra_groups=[] if self.user else None,
                env={**os.environ, **(self.environment or {})})
        for host, port in self.ports:
            wait_for(f"{self.name} at port {port}", lambda: self.running() and listens(host, port))

    def running(self):
        if self.process.poll() is not None:
            raise Violation(f"{self.name} ended with {self.process.returncode}: {self.log.read_text(errors='replace')[-2000:]}")
        return True

    def signal_all(self, number):
        for pid in [self.process.pid, *self._children()]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def _children(self):
        with contextlib.suppress(OSError):
            return list(map(int, pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()))
        return []

    def restart(self, number):
        self.process.send_signal(number)
        self.process.wait(PATIENCE_S)
        self.start()

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(PATIENCE_S)
            self.process.kill()


class Setup:
    def __init__(self, folder, programs):
        self.folder, self.programs = folder, programs
        self.page = GenerationPage(folder / "generation")
        self.hold_ms = 5000
        self.servers = {}

    def start(self):
        self.make_certificates()
        self._start_redis()
        self._add("nginx", ["nginx", "-c", self._nginx()], [(FAR, WEB), (FAR, WEB_TLS)])
        self._start_postgres()
        self._start_proxy()

    def _start_redis(self):
        certificate, key = self._certificate()
        self._add("redis", ["redis-server", "--bind", FAR, "--port", REDIS, "--tls-port", REDIS_TLS, "--tls-cert-file",
                            certificate, "--tls-key-file", key, "--tls-ca-cert-file", certificate, "--tls-auth-clients", "no",
                            "--protected-mode", "no", "--maxclients", 2000, "--tcp-keepalive", 1,
                            "--save", "", "--appendonly", "yes", "--appendfsync", "always", "--dir", self.folder],
                  [(FAR, REDIS), (FAR, REDIS_TLS)])

    def _start_postgres(self):
        certificate, key = self._certificate()
        data = self.folder / "data"
        user = pwd.getpwnam("postgres")
        data.mkdir()
        os.chown(data, user.pw_uid, user.pw_gid)
        os.chown(key, user.pw_uid, user.pw_gid)
        subprocess.run([POSTGRES + "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C"], check=True,
                       stdout=subprocess.DEVNULL, user="postgres", group=user.pw_gid, extra_groups=[], cwd="/")
        (data / "pg_hba.conf").write_text("host all all 0.0.0.0/0 trust\n")
        # It finds out, as soon as can be, that a clone has left a connection, and with it what a transaction has locked.
        settings = ["max_connections=300", "fsync=off", "shared_buffers=32MB", "log_min_messages=fatal", "tcp_keepalives_idle=1",
                    "tcp_keepalives_interval=1", "tcp_keepalives_count=2", "tcp_user_timeout=3000", "ssl=on",
                    f"ssl_cert_file={certificate}", f"ssl_key_file={key}"]
        command = [POSTGRES + "postgres", "-D", data, "-h", FAR, "-p", DATABASE, "-k", ""]
        self._add("postgres", command + [word for setting in settings for word in ("-c", setting)], [(FAR, DATABASE)], user="postgres")
        wait_for("a database", lambda: not subprocess.run([POSTGRES + "pg_isready", "-q", "-h", FAR, "-p", str(DATABASE)]).returncode)

    def _start_proxy(self):
        self.write_config()
        sanitizer = {"ASAN_OPTIONS": "detect_leaks=1:quarantine_size_mb=8:exitcode=99",
                     "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
        self._add("proxy", [self.programs / "clonesafe-proxy", "--config", self.folder / "proxy.toml"], [(NEAR, TCP_PORT)],
                  environment={**sanitizer, "CLONESAFE_GENERATION_PAGE": str(self.page.path)})

    def _add(self, name, command, ports, **more):
        self.servers[name] = Server(self.folder, name, command, ports, **more)
        self.servers[name].start()

    def end(self):
        for server in reversed(list(self.servers.values())):
            server.signal_all(signal.SIGCONT)
            server.end()

    def _certificate(self):
        return self.folder / "far.pem", self.folder / "far.key"

    def make_certificates(self):
        """Of its own authority, with another key each time."""
        for name in ("far", "near"):
            made = self.folder / f"{name}.new"
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
                            "-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}", "-keyout", f"{made}.key",
                            "-out", f"{made}.pem"],
                           check=True, capture_output=True)
            for kind in ("key", "pem"):
                target = self.folder / f"{name}.{kind}"
                # In place: the file keeps its owner.
                target.write_bytes(pathlib.Path(f"{made}.{kind}").read_bytes())
            (self.folder / f"{name}.key").chmod(0o600)

    def _nginx(self):
        path = self.folder / "nginx.conf"
        path.write_text(f"""daemon off;
master_process off;
pid {self.folder}/nginx.pid;
error_log {self.folder}/nginx.error.log crit;
events {{ worker_connections 1000; }}
http {{
  access_log off;
  keepalive_timeout 5s;
  server {{
    listen {FAR}:{WEB};
    listen {FAR}:{WEB_TLS} ssl;
    ssl_certificate {self.folder}/far.pem;
    ssl_certificate_key {self.folder}/far.key;
    location / {{ return 200 "$request_uri"; }}
  }}
}}
""")
        return path

    def write_config(self):
        def service(name, protocol, port, to, more="", listen_tls=False):
            text = (f'[[service]]\nname = "{name}"\nprotocol = "{protocol}"\nlisten = ["{NEAR}:{port}"]\nhold_ms = {self.hold_ms}\n'
                    f'upstream.address = ["{FAR}:{to}"]\nupstream.unacknowledged_ms = 20000\nupstream.connect_timeout_ms = 1000\n'
                    f'upstream.idle_ms = 2000\n{more}\n')
            near = f'listen_tls = {{ certificate = "{self.folder}/near.pem", key = "{self.folder}/near.key" }}\n'
            return text + (near if listen_tls else "")
        tls = f'upstream.tls = {{ ca_file = "{self.folder}/far.pem", server_name = "far" }}\n'
        trust = 'postgres.authentication = "trust"\n'
        text = f'threads = 2\nlog_level = "error"\nseccomp = false\ncontrol_socket = "{self.folder}/control.sock"\n'
        text += service("tcp", "tcp", TCP_PORT, REDIS)
        text += service("redis", "redis", REDIS_PORT, REDIS)
        text += service("redis-tls", "redis", REDIS_TLS_PORT, REDIS_TLS, tls, True)
        text += service("session", "postgres", SESSION_PORT, DATABASE, trust)
        pooling = 'postgres.pooling = "transaction"\nupstream.max_connections = 3\n'
        text += service("shared", "postgres", SHARED_PORT, DATABASE, trust + tls + pooling)
        text += service("http", "http", HTTP_PORT, WEB)
        text += service("http-tls", "http", HTTP_TLS_PORT, WEB_TLS, tls, True)
        (self.folder / "proxy.toml").write_text(text)

    @property
    def proxy(self):
        return self.servers["proxy"]

    def control(self, *call):
        command = [self.programs / "clonesafe-proxyctl", "--socket", self.folder / "control.sock", *call, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)
        if done.returncode:
            raise Violation(f"clonesafe-proxyctl {' '.join(call)}: {done.stderr or done.stdout}")
        return json.loads(done.stdout)

    # --- What the proxy has, while nobody asks for anything. ---

    def at_rest(self):
        """Descriptors beside tombstones, and KiB of anonymous memory."""
        wait_for("the end of all sessions", lambda: self.control("status")["sessions"] == 0)
        descriptors = self.proxy_descriptors()
        # Connections that wait for their next use are closed after a time, and by look.
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.5)
            descriptors = min(descriptors, self.proxy_descriptors())
        status = pathlib.Path(f"/proc/{self.proxy.process.pid}/status").read_text()
        return descriptors, int(re.search(r"RssAnon:\s+(\d+)", status)[1])

    def proxy_descriptors(self):
        return len(os.listdir(f"/proc/{self.proxy.process.pid}/fd")) - self.control("status")["tombstones"]

    # --- What happens. ---

    def clone(self, _random):
        self.page.clone()
        self.control("fence")

    def clone_unnoticed(self, _random):
        """Until somebody looks."""
        self.page.clone()

    def resume(self, _random):
        self.page.resume()
        self.control("fence")

    def reload(self, random):
        self.hold_ms = random.choice((4000, 5000))
        self.write_config()
        self.control("reload")

    def swap_certificates(self, _random):
        self.make_certificates()
        self.servers["redis"].restart(signal.SIGTERM)
        self.servers["nginx"].restart(signal.SIGKILL)
        # It reads them again.
        self.servers["postgres"].process.send_signal(signal.SIGHUP)
        self.control("reload")

    def pause(self, random):
        self.control("pause")
        time.sleep(random.uniform(0.1, 1))
        self.control("resume")

    def kill(self, random):
        # At SIGQUIT PostgreSQL's processes end as they are; whoever kills its first one has the others left.
        name, number = random.choice((("redis", signal.SIGKILL), ("nginx", signal.SIGKILL), ("postgres", signal.SIGQUIT)))
        self.servers[name].restart(number)

    def stop_and_continue(self, random):
        server = self.servers[random.choice(("redis", "nginx", "postgres"))]
        server.signal_all(signal.SIGSTOP)
        time.sleep(random.uniform(0.2, 3))
        server.signal_all(signal.SIGCONT)

    def reset_all(self, random):
        """Whoever sends to a server gets a reset."""
        self._with_rule(random.uniform(0.02, 0.3), "reject with tcp reset")

    def black_hole(self, random):
        self._with_rule(random.uniform(0.5, 3), "drop")

    def lose_some(self, random):
        self._with_rule(random.uniform(1, 4), "numgen random mod 4 0 drop")

    def _with_rule(self, seconds, verdict):
        self._add_rules(f"tcp dport {{ {PORTS} }} {verdict}")
        time.sleep(seconds)
        self.lose_none()

    def lose_half(self):
        """In both directions, at random."""
        loses = "numgen random mod 2 0 drop"
        self._add_rules(f"tcp dport {{ {PORTS} }} {loses}", f"tcp sport {{ {PORTS} }} {loses}")

    def _add_rules(self, *rules):
        self._nft("add table ip soak; add chain ip soak out { type filter hook output priority 0; }; "
                  + "; ".join(f"add rule ip soak out {rule}" for rule in rules))

    def lose_none(self):
        self._nft("delete table ip soak")

    @staticmethod
    def _nft(rules):
        subprocess.run(["nft", rules], check=True)


EVENTS = ("clone", "clone_unnoticed", "resume", "reload", "swap_certificates", "pause", "kill", "stop_and_continue", "reset_all",
          "black_hole", "lose_some")


def enter_network():
    """The namespace that it was started in."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{FAR}/32", "dev", "lo"], check=True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
