#!/usr/bin/env python3
"""clonesafectl --vsock: a host of any VMM, with the real agent at the other end, and with guests that say what they shouldn't.

usage: for_host_test.py CLONESAFED CLONESAFECTL
"""
import json
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import unittest

CLONESAFED, CLONESAFECTL = sys.argv[1:3]

AGENT = """
page = "{0}/run/generation"
control_socket = "{0}/run/agent.sock"
[sources]
memory = ""
iomem = ""
acpi_tables = ""
vmclock_device = ""
kmsg = ""
[host]
socket = "{0}/vm.vsock_17228"
[clock]
step = false # it is this machine's
[identity]
metadata_file = "{0}/metadata"
machine_id = "{0}/machine-id"
dbus_machine_id = ""
boot_id = ""
hostname = ""
[snapshot]
freeze = [{1}]
drop_caches = false # they are this machine's
[metrics]
socket = ""
"""
HELLO = {"type": "hello", "version": 1, "agent": "0.1", "kernel": "6"}
OLD_ID = "0123456789abcdef0123456789abcdef\n"


class ForHost(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        self.vsock = self.folder / "vm.vsock"
        self.socket = self.folder / "vm.vsock_17228"

    def start_agent(self, cgroup=False):
        freeze = ""
        if cgroup:
            # A kernel that freezes at once, as far as the agent can see.
            (self.folder / "cgroup").mkdir()
            (self.folder / "cgroup/cgroup.freeze").write_text("0\n")
            (self.folder / "cgroup/cgroup.events").write_text("populated 1\nfrozen 1\n")
            freeze = f'"{self.folder}/cgroup"'
        (self.folder / "agent.toml").write_text(AGENT.format(self.folder, freeze))
        (self.folder / "machine-id").write_text(OLD_ID)
        log = open(self.folder / "log", "w")
        agent = subprocess.Popen([CLONESAFED, "--config", self.folder / "agent.toml"], stderr=log)
        self.addCleanup(log.close)
        self.addCleanup(agent.wait)
        self.addCleanup(agent.terminate)
        return agent

    def ctl(self, *arguments, expect):
        done = subprocess.run([CLONESAFECTL, "--vsock", self.vsock, *map(str, arguments)],
                              capture_output=True, text=True, timeout=50)
        log = self.folder / "log"
        self.assertEqual(done.returncode, expect,
                         f"{done.stdout}{done.stderr}{log.read_text() if log.exists() else ''}")
        return done

    def start_ctl(self, *arguments):
        ctl = subprocess.Popen([CLONESAFECTL, "--vsock", self.vsock, *map(str, arguments)],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(ctl.communicate)
        self.addCleanup(ctl.kill)
        end = time.monotonic() + 20
        while not self.socket.exists():
            self.assertLess(time.monotonic(), end, "it does not listen")
            time.sleep(0.01)
        return ctl

    def guest(self):
        """A guest's end of a connection."""
        for _ in range(200):
            guest = socket.socket(socket.AF_UNIX)
            guest.settimeout(20)
            self.addCleanup(guest.close)
            try:
                guest.connect(str(self.socket))
                return guest
            except ConnectionRefusedError:  # bound, and not listened on yet
                time.sleep(0.01)
        raise AssertionError("nobody listens")

    @staticmethod
    def say(guest, message):
        guest.sendall((json.dumps(message) + "\n").encode())

    @staticmethod
    def hear(guest):
        line = b""
        while not line.endswith(b"\n"):
            byte = guest.recv(1)
            if not byte:
                return None
            line += byte
        return json.loads(line)

    @staticmethod
    def report(restore_id, state="safe"):
        return {"type": "safe", "restore_id": restore_id, "generation": "1f", "reseed_epoch": "2", "state": state,
                "sources": [], "repairs": [{"name": "x", "result": "ok", "us": 1, "detail": ""}]}

    def machine_id(self):
        return (self.folder / "machine-id").read_text()

    def frozen(self):
        return (self.folder / "cgroup/cgroup.freeze").read_text().strip() == "1"

    # With the real agent.

    def test_guest_is_told_of_a_clone_and_reports_it(self):
        self.start_agent()
        report = json.loads(self.ctl("wait", "--json", "--restore-id", "ab" * 16, expect=0).stdout)
        self.assertEqual(report["state"], "safe")
        self.assertEqual(report["restore_id"], "ab" * 16)
        self.assertIn("kernel_rng", [repair["name"] for repair in report["repairs"]])
        identity = self.machine_id()
        self.assertNotEqual(identity, OLD_ID)
        self.assertFalse(self.socket.exists())
        # The same restore is not another one; a second clone is.
        self.ctl("wait", "--restore-id", "ab" * 16, expect=0)
        self.assertEqual(self.machine_id(), identity)
        self.ctl("wait", expect=0)
        self.assertNotEqual(self.machine_id(), identity)

    def test_guest_gets_the_document_that_is_for_it(self):
        self.start_agent()
        document = self.folder / "document"
        document.write_text('{"worker": 7, "note": "\\u00e4"}\n')
        self.ctl("wait", "--metadata", document, expect=0)
        self.assertEqual((self.folder / "metadata").read_text(), document.read_text())
        # The next clone is given none.
        self.ctl("wait", expect=0)
        self.assertFalse((self.folder / "metadata").exists())
        document.write_text("x" * 24577)
        self.assertIn("larger than 24576 bytes", self.ctl("wait", "--metadata", document, expect=1).stderr)
        document.write_bytes(b"\xff")
        self.assertIn("not text", self.ctl("wait", "--metadata", document, expect=1).stderr)

    def test_boot_and_resume_keep_the_identity(self):
        self.start_agent()
        for kind in "boot", "resume":
            self.assertIn("state            safe", self.ctl("wait", "--kind", kind, expect=0).stdout)
            self.assertEqual(self.machine_id(), OLD_ID)

    def test_degraded_guest_has_an_exit_code_of_its_own(self):
        self.start_agent()
        (self.folder / "machine-id").unlink()
        (self.folder / "machine-id").mkdir()
        report = json.loads(self.ctl("wait", "--json", expect=3).stdout)
        self.assertEqual(report["state"], "degraded")
        self.ctl("wait", "--safe", "--timeout", "0.5", expect=3)

    def test_command_runs_while_the_guest_is_frozen(self):
        self.start_agent(cgroup=True)
        # Without VMGENID the guest has to know of itself from its host.
        self.ctl("wait", "--kind", "boot", expect=0)
        freeze = self.folder / "cgroup/cgroup.freeze"
        done = self.ctl("prepare", "--json", "--", "sh", "-c", f"cat {freeze} >{self.folder}/seen", expect=0)
        self.assertEqual((self.folder / "seen").read_text().strip(), "1")
        self.assertFalse(self.frozen())
        self.assertEqual(json.loads(done.stdout)["state"], "safe")
        # The source is the machine that it was.
        self.assertEqual(self.machine_id(), OLD_ID)

    def test_command_may_end_the_machine(self):
        agent = self.start_agent(cgroup=True)
        self.ctl("prepare", "--stop", "--timeout", "5", "--", "kill", "-9", agent.pid, expect=0)
        self.assertTrue(self.frozen())

    def test_command_that_fails_undoes_the_preparation(self):
        self.start_agent(cgroup=True)
        done = self.ctl("prepare", "--", "sh", "-c", "exit 7", expect=4)
        self.assertIn("exit code 7", done.stderr)
        end = time.monotonic() + 5
        while self.frozen() and time.monotonic() < end:
            time.sleep(0.01)
        self.assertFalse(self.frozen())
        self.assertIn("aborted by the host", (self.folder / "log").read_text())
        self.ctl("prepare", "--", "/no/such/program", expect=4)

    def test_guest_that_can_not_freeze_keeps_the_command_from_running(self):
        self.start_agent(cgroup=True)
        (self.folder / "cgroup/cgroup.events").write_text("populated 1\nfrozen 0\n")
        mark = self.folder / "mark"
        done = self.ctl("prepare", "--deadline-ms", "300", "--", "touch", mark, expect=1)
        self.assertIn("not prepared: ", done.stderr)
        self.assertFalse(mark.exists())
        self.assertFalse(self.frozen())

    def test_connection_that_breaks_while_the_command_runs_is_taken_up_again(self):
        ctl = self.start_ctl("prepare", "--restore-id", "cd" * 16, "--", "sleep", "1")
        guest = self.guest()
        self.say(guest, HELLO)
        self.assertEqual(self.hear(guest)["kind"], "resume")
        prepare = self.hear(guest)
        self.say(guest, {"type": "prepared", "id": prepare["id"], "ok": True, "steps": []})
        guest.close()
        guest = self.guest()
        self.say(guest, HELLO)
        self.assertNotEqual(self.hear(guest)["restore_id"], "cd" * 16)
        self.assertEqual(self.hear(guest), {"type": "resumed", "restore_id": "cd" * 16, "kind": "resume"})
        self.say(guest, self.report("cd" * 16))
        self.assertEqual(ctl.wait(20), 0)

    # With guests that say what they shouldn't.

    def test_bad_lines_end_the_connection_and_nothing_else(self):
        ctl = self.start_ctl("wait", "--json", "--restore-id", "ab" * 16)
        for line in (b"nonsense\n", b"{}\n", b"[]\n", b'{"type":"safe"}\n', b"x" * 70000,
                     json.dumps(self.report("ab" * 16)).encode() + b"\n",  # before hello
                     json.dumps(HELLO).encode() + b'\n{"type":"safe","restore_id":"zz"}\n',
                     json.dumps(HELLO).encode() + b'\n{"type":"exec"}\n'):
            guest = self.guest()
            try:
                guest.sendall(line)
                while guest.recv(4096):
                    pass
            except (ConnectionResetError, BrokenPipeError):
                pass
            guest.close()
            self.assertIsNone(ctl.poll(), line)
        guest = self.guest()
        self.say(guest, HELLO)
        welcome = self.hear(guest)
        self.assertEqual((welcome["restore_id"], welcome["kind"]), ("ab" * 16, "clone"))
        self.assertNotIn("secret_pages", welcome)
        # This host writes no pages, and has no others' reports for its own.
        self.say(guest, {"type": "register_page", "address": "1000", "nonce": "11" * 16})
        self.assertFalse(self.hear(guest)["ok"])
        self.say(guest, self.report("00" * 16))
        time.sleep(0.2)
        self.assertIsNone(ctl.poll())
        self.say(guest, {**self.report("ab" * 16), "state": "degraded"})
        self.assertEqual(ctl.wait(20), 3)

    def test_words_of_a_guest_do_not_drive_a_terminal(self):
        ctl = self.start_ctl("wait", "--restore-id", "ab" * 16)
        guest = self.guest()
        self.say(guest, {**HELLO, "agent": "\x1b]0;x\x07"})
        self.hear(guest)
        report = self.report("ab" * 16)
        report["repairs"][0]["detail"] = "\x1b[2J"
        self.say(guest, report)
        out, errors = ctl.communicate(timeout=20)
        self.assertEqual(ctl.returncode, 0)
        self.assertNotIn("\x1b", out + errors)

    def test_silence_runs_into_the_time_limit(self):
        self.assertIn("no agent", self.ctl("wait", "--timeout", "0.1", expect=1).stderr)
        self.assertIn("no agent", self.ctl("prepare", "--timeout", "0.1", "--", "true", expect=1).stderr)

    def test_only_a_socket_that_nobody_listens_on_is_replaced(self):
        other = socket.socket(socket.AF_UNIX)
        other.bind(str(self.socket))
        other.listen()
        self.assertIn("somebody listens", self.ctl("wait", "--timeout", "0.1", expect=1).stderr)
        other.close()
        self.assertIn("no agent", self.ctl("wait", "--timeout", "0.1", expect=1).stderr)
        self.socket.write_text("precious")
        self.assertIn("not a socket", self.ctl("wait", "--timeout", "0.1", expect=1).stderr)
        self.assertEqual(self.socket.read_text(), "precious")

    def test_command_line(self):
        for arguments in (["wait", "--restore-id", "12"], ["wait", "--restore-id", "Z" * 32], ["status"], [], ["prepare"],
                          ["wait", "--kind", "other"], ["prepare", "--deadline-ms", "0", "--", "true"]):
            self.assertEqual(self.ctl(*arguments, expect=2).stderr.count("\n"), 1)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])
