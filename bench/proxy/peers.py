"""Servers, clonesafe-proxy and its peers, each of one thread and on a processor of its own kind."""
import contextlib
import os
import pathlib
import pwd
import re
import shutil
import socket
import subprocess
import time

# Of the namespace's loopback interface, but no loopback address: what is there counts as another machine.
FAR = "10.9.0.1"
NEAR = "127.0.0.1"
POSTGRES = "/usr/lib/postgresql/15/bin/"
PROXY_CPU, OTHER_CPU = "0", "1"  # the peers take turns on one; servers and load are on the other
PATIENCE_S = 30

REDIS, REDIS_TLS, DATABASE = 6379, 6380, 5432
# Where applications connect: by whom, to what.
OURS_TCP, OURS_TLS, OURS_REDIS, OURS_POSTGRES = 7001, 7002, 7003, 7004
OTHER = 1000  # ports of another clonesafe-proxy are as much higher
HAPROXY_TCP, HAPROXY_TLS, NGINX_TCP, STUNNEL_TLS, PGBOUNCER = 7101, 7102, 7201, 7301, 7401


def fail(what):
    raise SystemExit(f"proxy_bench: {what}")


class Process:
    """Started, and ended with the benchmark."""

    def __init__(self, folder, name, command, cpu, port, environment=None, user=None, cwd=None, host=None):
        self.name = name
        log = folder / f"{name}.log"
        with open(log, "w") as output:
            self.process = subprocess.Popen(
                ["taskset", "-c", cpu, *map(str, command)],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, user=user, group=user and pwd.getpwnam(user).pw_gid,
                extra_groups=[] if user else None, cwd=cwd or folder, env={**os.environ, **(environment or {})})
        host = host or (FAR if cpu == OTHER_CPU else NEAR)
        until = time.monotonic() + PATIENCE_S
        while True:
            if self.process.poll() is not None:
                fail(f"{name} ended with {self.process.returncode}: {log.read_text()[-1000:]}")
            try:
                socket.create_connection((host, port), 1).close()
                return
            except OSError as error:
                if time.monotonic() > until:
                    fail(f"{name} does not listen at {host}:{port}: {error}")
                time.sleep(0.02)

    def pids(self):
        found = [self.process.pid]
        for pid in found:
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                try:
                    found += map(int, (task / "children").read_text().split())
                except OSError:
                    pass  # the thread has ended
        return found

    def cpu_seconds(self):
        ticks = 0
        for pid in self.pids():
            fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def move_to(self, cpu):
        for pid in self.pids():
            for task in os.listdir(f"/proc/{pid}/task"):
                with contextlib.suppress(ProcessLookupError):  # it has ended
                    os.sched_setaffinity(int(task), {int(cpu)})

    def user_memory_kib(self):
        return sum(int(re.search(r"RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) for pid in self.pids())

    def end(self):
        self.process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(PATIENCE_S)
        self.process.kill()  # nobody, if it has ended
        self.process.wait()


def make_database(folder, admitted):
    """A server's folder, and the rights (pg_hba.conf) of those who connect."""
    user = pwd.getpwnam("postgres")
    data = folder / "data"
    data.mkdir()
    os.chown(data, user.pw_uid, user.pw_gid)
    subprocess.run([POSTGRES + "initdb", "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "--locale=C"], check=True, stdout=subprocess.DEVNULL,
                   user="postgres", group=user.pw_gid, extra_groups=[], cwd="/")
    (data / "pg_hba.conf").write_text(admitted)
    return data


class Setup:
    def __init__(self, folder, programs, fetched, most_sessions):
        self.folder, self.programs, self.fetched, self.most_sessions = folder, programs, fetched, most_sessions
        self.page = folder / "generation"
        self.processes = {}

    def start(self):
        subprocess.run([self.programs / "bench_proxy_load", "page", self.page], check=True, stdout=subprocess.DEVNULL)
        self._make_certificate()
        self._start_redis()
        self._start_postgres()
        self._start_ours()
        self._start_haproxy()
        self._start_nginx()
        self._start_stunnel()
        self._start_pgbouncer()

    def restart(self, who):
        self.processes[who].end()
        getattr(self, f"_start_{who}")()

    def end(self):
        for process in reversed(list(self.processes.values())):
            process.end()

    def __getitem__(self, name):
        return self.processes[name]

    def _add(self, name, command, cpu, port, **more):
        self.processes[name] = Process(self.folder, name, command, cpu, port, **more)

    def _write(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o644)
        return path

    def _make_certificate(self):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=far",
             "-addext", "subjectAltName=DNS:far", "-keyout", self.folder / "far.key", "-out", self.folder / "far.pem"],
            check=True, capture_output=True)

    def _start_redis(self):
        self._add("redis", ["redis-server", "--bind", FAR, "--port", REDIS, "--tls-port", REDIS_TLS, "--tls-cert-file", self.folder / "far.pem",
                            "--tls-key-file", self.folder / "far.key", "--tls-ca-cert-file", self.folder / "far.pem", "--tls-auth-clients", "no",
                            "--save", "", "--protected-mode", "no", "--maxclients", self.most_sessions, "--tcp-backlog", 4096, "--tcp-keepalive", 1],
                  OTHER_CPU, REDIS)
        subprocess.run(["redis-cli", "-h", FAR, "-p", str(REDIS), "set", "key", "xxx"], check=True, stdout=subprocess.DEVNULL)

    def _start_postgres(self):
        data = make_database(self.folder, "host all all 0.0.0.0/0 trust\n")
        # Keepalives find out, as soon as can be, that a clone has left a connection.
        self._add("postgres", [POSTGRES + "postgres", "-D", data, "-h", FAR, "-p", DATABASE, "-k", "", "-F", "-c", "max_connections=500",
                               "-c", "autovacuum=off", "-c", "tcp_keepalives_idle=1", "-c", "tcp_keepalives_interval=1", "-c",
                               "tcp_keepalives_count=1", "-c", "log_min_messages=fatal"],
                  OTHER_CPU, DATABASE, user="postgres", cwd="/")
        until = time.monotonic() + PATIENCE_S
        while subprocess.run(["pgbench", "-i", "-q", "-h", FAR, "-p", str(DATABASE), "-U", "postgres", "postgres"], capture_output=True).returncode:
            if time.monotonic() > until:
                fail("pgbench cannot fill the database")

    def start_other(self, program):
        self._start_ours("other", program, OTHER)

    def _start_ours(self, who="ours", program=None, higher=0):
        def service(name, protocol, port, to, more=""):
            return f'[[service]]\nname = "{name}"\nprotocol = "{protocol}"\nlisten = ["{NEAR}:{port + higher}"]\nupstream.address = ["{FAR}:{to}"]\n{more}\n'
        tls = f'[service.upstream.tls]\nca_file = "{self.folder}/far.pem"\nserver_name = "far"\n'
        config = self._write(f"{who}.toml", 'threads = 1\nlog_level = "warning"\n' + service("tcp", "tcp", OURS_TCP, REDIS) +
                             service("tls", "tcp", OURS_TLS, REDIS_TLS, tls) + service("redis", "redis", OURS_REDIS, REDIS) +
                             service("postgres", "postgres", OURS_POSTGRES, DATABASE, 'postgres.authentication = "trust"'))
        self._add(who, [program or self.programs / "clonesafe-proxy", "--config", config], PROXY_CPU, OURS_TCP + higher,
                  environment={"CLONESAFE_GENERATION_PAGE": str(self.page)})

    def _start_haproxy(self):
        config = self._write("haproxy.cfg", f"""global
  nbthread 1
  maxconn {self.most_sessions}
defaults
  mode tcp
  timeout connect 5s
  timeout client 10m
  timeout server 10m
listen tcp
  bind {NEAR}:{HAPROXY_TCP}
  server far {FAR}:{REDIS}
listen tls
  bind {NEAR}:{HAPROXY_TLS}
  server far {FAR}:{REDIS_TLS} ssl verify required ca-file {self.folder}/far.pem verifyhost far
""")
        self._add("haproxy", ["haproxy", "-db", "-f", config], PROXY_CPU, HAPROXY_TCP)

    def _start_nginx(self):
        config = self._write("nginx.conf", f"""load_module {self.fetched}/nginx-stream/ngx_stream_module.so;
daemon off;
worker_processes 1;
pid {self.folder}/nginx.pid;
error_log {self.folder}/nginx.error.log;
events {{ worker_connections {self.most_sessions}; }}
stream {{ server {{ listen {NEAR}:{NGINX_TCP}; proxy_pass {FAR}:{REDIS}; }} }}
""")
        self._add("nginx", ["nginx", "-c", config], PROXY_CPU, NGINX_TCP)

    def _start_stunnel(self):
        config = self._write("stunnel.conf", f"""foreground = yes
debug = err
pid =
[tls]
client = yes
accept = {NEAR}:{STUNNEL_TLS}
connect = {FAR}:{REDIS_TLS}
CAfile = {self.folder}/far.pem
verifyChain = yes
checkHost = far
""")
        self._add("stunnel", ["stunnel4", config], PROXY_CPU, STUNNEL_TLS)

    def _start_pgbouncer(self):
        users = self._write("users.txt", '"postgres" ""\n')
        config = self._write("pgbouncer.ini", f"""[databases]
postgres = host={FAR} port={DATABASE}
[pgbouncer]
listen_addr = {NEAR}
listen_port = {PGBOUNCER}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = session
default_pool_size = 200
max_client_conn = 1000
ignore_startup_parameters = extra_float_digits
log_connections = 0
log_disconnections = 0
""")
        # It refuses to run as root, and another user may not be able to enter the cache.
        program = shutil.copy(self.fetched / "pgbouncer" / "pgbouncer", self.folder)
        self._add("pgbouncer", [program, config], PROXY_CPU, PGBOUNCER, user="nobody", cwd="/")
