#!/usr/bin/env python3
"""curl and wrk on nginx, straight and through clonesafe-proxy. What curl gets has to be the same; wrk must see no error.

usage: http_suite.py CLONESAFE-PROXY
"""
import hashlib
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys

from proxy import HERE, PATIENCE_S, Process, fail, free_port, need, start_proxy, work_folder

# Arguments of curl; {url} is where the server is, {folder} where files are.
CASES = {
    "file": ["{url}/small"],
    "large file": ["{url}/large"],
    "empty file": ["{url}/empty"],
    "HEAD": ["--head", "{url}/large"],
    "two requests, one connection": ["{url}/small", "{url}/empty"],
    "forty requests side by side": ["--parallel", "--parallel-max", "8", "--output", "/dev/null", "{url}/small?[1-40]"],
    "no keep-alive": ["-H", "Connection: close", "{url}/small"],
    "HTTP/1.0": ["--http1.0", "{url}/small"],
    "HTTP/1.0 with keep-alive": ["--http1.0", "-H", "Connection: keep-alive", "{url}/small", "{url}/empty"],
    "not found": ["{url}/none"],
    "redirection": ["--location", "{url}/moved"],
    "password asked for": ["{url}/locked"],
    "server's error": ["{url}/broken"],
    "range": ["--range", "100-199", "{url}/large"],
    "last bytes": ["--range", "-100", "{url}/large"],
    "range beyond the end": ["--range", "1000000000-", "{url}/large"],
    "resumed": ["--continue-at", "19000000", "{url}/large"],
    "not modified": ["-H", "If-Modified-Since: Fri, 31 Dec 2100 00:00:00 GMT", "{url}/small"],
    "chunked response": ["--compressed", "{url}/text"],
    "chunked response, as it is": ["-H", "Accept-Encoding: gzip", "--raw", "{url}/text"],
    "upload": ["--upload-file", "{folder}/small", "{url}/up/one"],
    "chunked upload": ["-H", "Transfer-Encoding: chunked", "--upload-file", "{folder}/large", "{url}/up/two"],
    "large upload": ["--upload-file", "{folder}/large", "{url}/up/three"],
    "large upload without 100-continue": ["-H", "Expect:", "--upload-file", "{folder}/large", "{url}/up/four"],
    "upload with 100-continue": ["-H", "Expect: 100-continue", "--upload-file", "{folder}/small", "{url}/up/five"],
    "what was uploaded": ["{url}/up/one", "{url}/up/two", "{url}/up/three", "{url}/up/four", "{url}/up/five"],
    "upload of nothing": ["--upload-file", "{folder}/empty", "{url}/up/six"],
    "upload refused before it is sent": ["-H", "Expect: 100-continue", "--upload-file", "{folder}/large", "{url}/small-up/one"],
    "DELETE": ["--request", "DELETE", "{url}/up/one"],
    "MKCOL": ["--request", "MKCOL", "{url}/up/folder/"],
    "method that nobody knows": ["--request", "BREW", "{url}/small"],
    "OPTIONS": ["--request", "OPTIONS", "{url}/small"],
    "form": ["--data", "a=1&b=2", "{url}/broken"],
    "many headers": [*(f"-HX-Header-{number}: {'v' * 50}" for number in range(100)), "{url}/headers"],
    "long header": ["-H", "X-Long: " + "v" * 7000, "{url}/headers"],
    "headers of the request": ["-A", "agent", "-H", "X-Twice: a", "-H", "X-Twice: b", "--cookie", "c=d", "--referer", "there", "{url}/headers"],
    "Host of another name": ["-H", "Host: other.test", "{url}/headers"],
    "path as it is": ["--path-as-is", "{url}/a/../small?q=%20%2f&r=%c3%a4"],
    "escaped path": ["{url}/%73mall"],
    "target in absolute form": ["--proxy", "{url}", "{url}/small"],
    "upgrade that nobody takes": ["-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "{url}/small"],
    "h2c that nobody takes": ["--http2", "{url}/small"],
    "slow response": ["{url}/slow"],
    "curl's own time-out": ["--max-time", "0.3", "{url}/slow"],
}
# Tells of a connection, not of a message, or of a moment.
LEFT_OUT = re.compile(rb"^(date|connection|keep-alive|etag|last-modified):", re.I)
PIPELINED = b"".join(b"GET /%s HTTP/1.1\r\nHost: a\r\n%s\r\n" % line for line in
                     ((b"small", b""), (b"none", b""), (b"large", b""), (b"headers", b"X-Twice: 1\r\n"), (b"empty", b"Connection: close\r\n")))
WRK = [(1, ""), (16, ""), (64, ""), (16, "tls")]
WRK_SECONDS = 5


def make_files(folder):
    (folder / "www/small-up").mkdir(parents=True)
    (folder / "tmp").mkdir()
    block = hashlib.sha512(b"suite").digest()
    for name, content in (("small", b"small\n"), ("empty", b""), ("large", block * (20_000_000 // len(block))), ("text", b"a line of text\n" * 20_000),
                          ("slow", b"s" * 40_000)):
        for place in (folder, folder / "www"):
            (place / name).write_bytes(content)
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=a",
                    "-keyout", folder / "key.pem", "-out", folder / "certificate.pem"], check=True, capture_output=True)


def start_nginx(folder, port):
    config = folder / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""  # whose the folder is
    config.write_text(f"""{user} daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; worker_processes 1; events {{ worker_connections 1024; }}
http {{
  access_log off; absolute_redirect off; keepalive_requests 1000000; client_body_temp_path {folder}/tmp; gzip_types text/plain; default_type text/plain;
  server {{
    listen {HERE}:{port} backlog=1024; root {folder}/www; client_max_body_size 100m;
    location /moved {{ return 302 /small; }}
    location /broken {{ return 503 "not now"; }}
    location /locked {{ return 401; }}
    location /text {{ gzip on; }}
    location /slow {{ limit_rate 20k; }}
    location /headers {{ return 200 "$request_method $host $http_user_agent $http_x_twice $http_cookie $http_referer $http_x_long $http_x_header_99"; }}
    location /up/ {{ dav_methods PUT DELETE MKCOL; }}
    location /small-up/ {{ dav_methods PUT; client_max_body_size 1k; }}
  }}
}}
""")
    return Process(folder, "nginx", ["nginx", "-e", folder / "error.log", "-c", config], port)


def common(text):
    """What of responses has to be the same: their heads, and a digest of all."""
    lines = [line for line in text.split(b"\r\n") if not LEFT_OUT.match(line)]
    heads = [line.decode(errors="replace") for line in lines if len(line) < 100]
    return heads[:20], hashlib.sha256(b"\n".join(lines)).hexdigest()


def curl(folder, port, arguments):
    """curl's exit code, of each transfer what curl says, and what came."""
    given = [argument.format(url=f"http://{HERE}:{port}", folder=folder) for argument in arguments]
    side_by_side, cut = "--parallel" in given, "--max-time" in given
    told = "%{stderr}%{http_code} %{size_upload} %{size_download}" + ("" if side_by_side else " %{num_connects}") + "\\n"
    done = subprocess.run(["curl", "--silent", "--no-progress-meter", "--noproxy", "", *([] if cut else ["--max-time", "60"]), "--include",
                           "--write-out", told, *given], capture_output=True, timeout=PATIENCE_S * 4)
    return done.returncode, [] if cut else sorted(done.stderr.decode().splitlines()), None if cut or side_by_side else common(done.stdout)


def pipelined(port):
    """How many responses came, and what."""
    with socket.create_connection((HERE, port), PATIENCE_S) as connection:
        connection.sendall(PIPELINED)
        text = b""
        while part := connection.recv(1 << 16):
            text += part
    return text.count(b"HTTP/1.1 "), common(text)


def ask_all(folder, port):
    shutil.rmtree(folder / "www/up", ignore_errors=True)
    (folder / "www/up").mkdir()
    return {**{name: curl(folder, port, arguments) for name, arguments in CASES.items()}, "pipelined": pipelined(port)}


def compare_curl(folder, direct, proxied):
    ways = [ask_all(folder, port) for port in (direct, proxied)]
    different = [name for name in ways[0] if ways[0][name] != ways[1][name]]
    for name in different:
        print(f"{name}:", *(f"  {way[name]}" for way in ways), sep="\n")
    if ways[0]["pipelined"][0] != PIPELINED.count(b"GET"):
        fail("nginx itself did not answer what was pipelined")
    print(f"curl: {len(ways[0])} cases, {len(different)} differ")
    return len(different)


def load(port, connections, scheme):
    done = subprocess.run(["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{WRK_SECONDS}s", f"{scheme}://{HERE}:{port}/small"],
                          capture_output=True, text=True, timeout=PATIENCE_S * 4)
    bad = done.returncode != 0 or "Non-2xx" in done.stdout or "Socket errors" in done.stdout or not re.search(r"[1-9]\d* requests in", done.stdout)
    requests = re.search(r"(\d+) requests in", done.stdout)
    print(f"wrk, {scheme}, {connections} connections: {requests[1] if requests else 'no'} requests{', with errors: ' + done.stdout if bad else ', no error'}")
    return bad


def main(program):
    need("curl", "nginx", "openssl", "wrk")
    with work_folder() as folder:
        make_files(folder)
        direct, proxied, tls = free_port(), free_port(), free_port()
        secure = f'listen_tls = {{ certificate = "{folder}/certificate.pem", key = "{folder}/key.pem" }}'
        with start_nginx(folder, direct) as nginx, start_proxy(folder, program, proxied, "http", direct) as one, \
                start_proxy(folder, program, tls, "http", direct, secure) as other:
            bad = compare_curl(folder, direct, proxied)
            for connections, kind in WRK:
                bad += load(tls if kind else proxied, connections, "https" if kind else "http")
            for process in (nginx, one, other):
                process.must_run()
        if bad:
            fail(f"{bad} cases differ or failed")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]).resolve())
