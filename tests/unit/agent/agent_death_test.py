#!/usr/bin/env python3
"""Kills clonesafed at each call of a repair that leaves a trace outside the process, one after the other: the page never says
`safe` of a restore that was not repaired, and the next agent repairs it.

usage: agent_death_test.py CLONESAFED FAULT_AT_LIBRARY
"""
import os
import pathlib
import shutil
import struct
import subprocess
import sys
import tempfile
import time

CLONESAFED, FAULT_AT = sys.argv[1:3]
RESTORE_FILE = pathlib.Path(__file__).with_name("restore_file.py")
OLD_ID = "0123456789abcdef0123456789abcdef\n"
SAFE = 2
AGENT = """
log_level = "debug"
page = "{0}/run/generation"
control_socket = "{0}/run/agent.sock"
[sources]
poll_ms = 5
memory = ""
iomem = ""
acpi_tables = ""
vmclock_device = ""
kmsg = ""
restore_file = "{0}/restore"
[host]
enabled = false
[clock]
step = false # it is this machine's
[identity]
machine_id = "{0}/machine-id"
dbus_machine_id = "{0}/dbus-machine-id"
boot_id = ""
hostname = ""
metadata_file = "{0}/metadata"
[hooks]
folder = "{0}/hooks.d"
[metrics]
socket = ""
"""


class Machine:
    def __init__(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        (self.folder / "agent.toml").write_text(AGENT.format(self.folder))
        for name in "machine-id", "dbus-machine-id":
            (self.folder / name).write_text(OLD_ID)
        hooks = self.folder / "hooks.d/after-restore"
        hooks.mkdir(parents=True)
        (self.folder / "hooks.d").chmod(0o755)
        hooks.chmod(0o755)
        (hooks / "hook").write_text(f"#!/bin/sh\necho $CLONESAFE_GENERATION >>{self.folder}/ran\n")
        (hooks / "hook").chmod(0o755)
        self.log = open(self.folder / "log", "w")
        self.agent = None

    def end(self):
        self.stop()
        self.log.close()
        shutil.rmtree(self.folder)

    def restore(self, kind, generation):
        subprocess.run([sys.executable, RESTORE_FILE, self.folder / "restore", kind, str(generation), str(generation)], check=True)

    def start(self, fault_at=None):
        environment = dict(os.environ)
        if fault_at is not None:
            environment |= {"LD_PRELOAD": FAULT_AT, "CLONESAFE_FAULT": "kill", "CLONESAFE_FAULT_AT": str(fault_at),
                            "CLONESAFE_FAULT_ARM": str(self.folder / "arm"), "CLONESAFE_FAULT_CAME": str(self.folder / "came")}
        self.agent = subprocess.Popen([CLONESAFED, "--config", self.folder / "agent.toml"], stderr=self.log, env=environment)

    def stop(self):
        if self.agent is not None:
            self.agent.kill()
            self.agent.wait()

    def fault_came(self):
        came = self.folder / "came"
        return came.exists() and came.stat().st_size > 0

    def slot(self):
        """Generation and state that the page says."""
        page = (self.folder / "run/generation").read_bytes()
        at = 0x100 + 0x100 * (struct.unpack_from("<Q", page, 0x10)[0] & 3)
        return struct.unpack_from("<Q", page, at)[0], struct.unpack_from("<I", page, at + 0x68)[0]

    def is_safe(self, generation):
        return self.slot() == (generation, SAFE)

    def repaired(self, generation):
        """What the page promises when it says safe."""
        ids = {(self.folder / name).read_text() for name in ("machine-id", "dbus-machine-id")}
        ran = self.folder / "ran"
        return len(ids) == 1 and OLD_ID not in ids and ran.exists() and f"{generation:x}" in ran.read_text().split()

    def until(self, condition, what):
        end = time.monotonic() + 30
        while not condition():
            if time.monotonic() > end:
                sys.exit(f"FAILED: never {what}; the agent:\n{(self.folder / 'log').read_text()}")
            time.sleep(0.003)


def die_at(call):
    """True if there was such a call."""
    machine = Machine()
    try:
        machine.restore("boot", 10)
        machine.start(call)
        machine.until(lambda: (machine.folder / "run/generation").exists() and machine.is_safe(10), "safe at boot")
        (machine.folder / "arm").write_text("x")
        machine.restore("clone", 32)
        machine.until(lambda: machine.fault_came() or machine.is_safe(32), "dead or done")
        came = machine.fault_came()
        if came:
            # It was the agent's, or its helper's: then the agent goes on, without hooks.
            time.sleep(0.02)
            machine.stop()
        if machine.slot()[0] == 32 and machine.slot()[1] == SAFE and not machine.repaired(32):
            sys.exit(f"FAILED: the page said safe after a death at call {call}")
        if not came:
            return False
        machine.start()
        machine.until(lambda: machine.is_safe(32), f"safe after a death at call {call}")
        if not machine.repaired(32):
            sys.exit(f"FAILED: not repaired after a death at call {call}")
        return True
    finally:
        machine.end()


def main():
    if os.geteuid() != 0:
        print("SKIPPED: clonesafed reseeds the kernel's generator, which only root may")
        return 77
    call = 1
    while die_at(call):
        call += 1
    if call < 10:
        sys.exit(f"FAILED: only {call - 1} calls were seen: is the library preloaded?")
    print(f"passed: {call - 1} deaths")
    return 0


sys.exit(main())
