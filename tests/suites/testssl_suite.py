#!/usr/bin/env python3
"""testssl.sh on a listener of clonesafe-proxy with TLS: nothing that it finds may be worse than LOW.

usage: testssl_suite.py CLONESAFE-PROXY
"""
import json
import pathlib
import subprocess
import sys

from proxy import HERE, Process, fail, free_port, need, start_proxy, work_folder

NAME = "web.test"
FINE = {"OK", "INFO", "LOW"}
# What is not the listener's doing.
TAKEN = {"cert_revocation": "the authority that is made here has neither CRL nor OCSP"}


def openssl(folder, *arguments):
    subprocess.run(["openssl", *map(str, arguments)], cwd=folder, check=True, capture_output=True)


def make_certificate(folder):
    """An authority, and by it a certificate for NAME."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl(folder, "req", "-x509", *key, "-days", 300, "-subj", "/CN=the suite's authority", "-keyout", "ca.key", "-out", "ca.pem")
    openssl(folder, "req", *key, "-subj", f"/CN={NAME}", "-keyout", "web.key", "-out", "web.request")
    (folder / "extensions").write_text(f"subjectAltName=DNS:{NAME}\nextendedKeyUsage=serverAuth\nkeyUsage=digitalSignature\n")
    openssl(folder, "x509", "-req", "-in", "web.request", "-CA", "ca.pem", "-CAkey", "ca.key", "-days", 300, "-extfile", "extensions", "-out", "web.pem")


def start_nginx(folder, port):
    config = folder / "nginx.conf"
    headers = ('add_header Strict-Transport-Security max-age=31536000; add_header X-Frame-Options DENY; add_header X-Content-Type-Options nosniff; '
               "add_header Content-Security-Policy \"default-src 'none'\";")
    config.write_text(f"daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; events {{ }}\n"
                      f"http {{ access_log off; server {{ listen {HERE}:{port}; {headers} "
                      f"location / {{ return 200 well; }} }} }}\n")
    return Process(folder, "nginx", ["nginx", "-e", folder / "error.log", "-c", config], port)


def findings(folder, port):
    report = folder / "findings.json"
    done = subprocess.run(["testssl", "--quiet", "--warnings", "off", "--nodns", "none", "--ip", HERE, "--add-ca", folder / "ca.pem", "--jsonfile", report,
                           f"https://{NAME}:{port}"], cwd=folder, stdin=subprocess.DEVNULL, stdout=(folder / "testssl.log").open("w"), stderr=subprocess.STDOUT)
    if not report.exists():
        fail(f"testssl.sh ended with {done.returncode}: {(folder / 'testssl.log').read_text(errors='replace')[-1000:]}")
    return json.loads(report.read_text())


def main(program):
    need("testssl", "nginx", "openssl")
    with work_folder() as folder:
        make_certificate(folder)
        nginx_port, port = free_port(), free_port()
        tls = f'listen_tls = {{ certificate = "{folder}/web.pem", key = "{folder}/web.key" }}'
        with start_nginx(folder, nginx_port), start_proxy(folder, program, port, "http", nginx_port, tls) as proxy:
            found = findings(folder, port)
            proxy.must_run()
        print(f"{len(found)} findings")
        bad = 0
        for finding in found:
            if finding["severity"] in FINE:
                continue
            reason = TAKEN.get(finding["id"].split(" ")[0])
            bad += reason is None
            print(f"{finding['severity']} {finding['id']}: {finding['finding']}{f' (taken: {reason})' if reason else ''}")
        if not any(finding["id"] == "TLS1_3" for finding in found):
            fail("testssl.sh did not come to the end of its checks")
        if bad:
            fail(f"{bad} findings above LOW")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(pathlib.Path(sys.argv[1]).resolve())
