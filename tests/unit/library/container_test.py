#!/usr/bin/python3
"""What cs_status says in containers, and that the snippets that are installed bring it to tier `word`.
usage: container_test.py STATUS_PROGRAM LIBRARY SNIPPETS

Each case is run without the snippet (`none`, or `lagging` where only the agent's plain page is left) and with it. A namespace of this
test's has a /run/clonesafe and a /dev/vmclock0 of its own. Exit code 77: skipped, by who may not make namespaces."""
import ctypes
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile

SKIPPED = 77
PAGE = "/run/clonesafe/generation"
VMCLOCK = "/dev/vmclock0"
TIERS = {"none": 0, "lagging": 1, "word": 3}


def enter_namespace():
    """A mount namespace of our own, with a user namespace for who isn't root."""
    if os.environ.get("CLONESAFE_CONTAINER_TEST") == "inside":
        return
    how = ["unshare", "--mount", "--propagation", "private"] + (["--map-root-user"] if os.geteuid() != 0 else [])
    if subprocess.run(how + ["true"], capture_output=True).returncode != 0:
        print("SKIPPED: no right to make a mount namespace")
        sys.exit(SKIPPED)
    os.environ["CLONESAFE_CONTAINER_TEST"] = "inside"
    os.execvp("unshare", how + [sys.executable] + sys.argv)


def sh(script, *arguments, **options):
    return subprocess.run(["sh", "-euc", script, "sh", *arguments], check=True, text=True, **options)


def page(tier):
    """docs/formats/generation-page.md: one commit, in slot 0."""
    slot = struct.pack("<QQQ32s16s16sQQII", 1, 1, 1, b"\1" * 32, bytes(16), b"\1" * 16, 0, 1, 2, TIERS[tier])
    head = struct.pack("<8sIIQ", b"CLSGEN01", 1, 0x1000, 1 << 2).ljust(0x100, b"\0")
    return (head + slot.ljust(0x100, b"\0")).ljust(0x1000, b"\0")


def vmclock():
    """docs/formats/vmgenid-vmclock.md: a page with a generation counter (flag 8)."""
    contents = bytearray(0x1000)
    struct.pack_into("<IIH", contents, 0, 0x4B4C4356, 0x1000, 1)
    struct.pack_into("<Q", contents, 0x18, 1 << 8)
    struct.pack_into("<Q", contents, 0x68, 5)
    return bytes(contents)


class Machine:
    """What the container is in: a /run with the agent's page, and a /dev with VMCLOCK's."""

    def __init__(self, program, library, scratch):
        sh("mount -t tmpfs tmpfs /run && mkdir -p /run/clonesafe")
        self.set_page("word")
        # The files that a container shares with the machine, as images have them.
        self.root = os.path.join(scratch, "root")
        for name in ("usr", "proc", "dev", "run", "tmp", "app", "old"):
            os.makedirs(os.path.join(self.root, name))
        for name in ("bin", "lib", "lib64", "sbin"):
            os.symlink("usr/" + name, os.path.join(self.root, name))
        shutil.copy(program, os.path.join(self.root, "app/status"))
        shutil.copy(library, os.path.join(self.root, "app", "libclonesafe.so.0"))
        sh('mount --bind "$1" "$1" && mount --rbind /usr "$1/usr"', self.root)
        for name in ("run", "dev"):
            sh('mount -t tmpfs tmpfs "$1"', os.path.join(self.root, name))
        self.fill_dev(os.path.join(self.root, "dev"))

    @staticmethod
    def fill_dev(folder):
        """The nodes that engines, and systemd for PrivateDevices=, leave in /dev."""
        for name in ("null", "zero", "full", "random", "urandom"):
            sh('touch "$1" && mount --bind "/dev/$2" "$1"', os.path.join(folder, name), name)

    @staticmethod
    def set_page(tier):
        with open(PAGE, "wb") as file:
            file.write(page(tier))


def tier_of(text):
    return re.search(r"^tier +(\S+)", text, re.M).group(1)


def run(command, **options):
    """The tier that the status program prints."""
    environment = dict(os.environ, LD_LIBRARY_PATH="/app")
    result = subprocess.run(command, env=environment, text=True, capture_output=True, **options)
    assert result.returncode == 0, (command, result.returncode, result.stdout, result.stderr)
    return tier_of(result.stdout)


# What the snippets say: (source, target) of the page.


def compose_mounts(snippets):
    text = open(os.path.join(snippets, "compose.yaml")).read()
    found = re.findall(r"- type: bind\s+source: (\S+)\s+target: (\S+)\s+read_only: true", text)
    return [pair for pair in found if pair[0] == PAGE]


def kubernetes_mounts(snippets):
    text = open(os.path.join(snippets, "kubernetes-pod.yaml")).read()
    volumes = dict(re.findall(r"- name: (\S+)\s+hostPath:\s+path: (\S+)", text))
    mounts = re.findall(r"- name: (\S+)\s+mountPath: (\S+)\s+readOnly: true", text)
    return [(volumes[name], target) for name, target in mounts if volumes[name] == PAGE]


def systemd_mounts(snippets, private_devices=False):
    text = open(os.path.join(snippets, "service.conf")).read()
    if private_devices:
        text = re.sub(r"^#(\w+=)", r"\1", text, flags=re.M)
    paths = [path.removeprefix("-") for path in re.findall(r"^BindReadOnlyPaths=(\S+)", text, re.M)]
    allowed = re.findall(r"^DeviceAllow=(\S+) r$", text, re.M)
    # systemd refuses a device that isn't allowed, however visible it is.
    return [(path, path) for path in paths if os.path.exists(path) and (not path.startswith("/dev/") or path in allowed)]


def bind_script(mounts, root):
    """Shell lines that mount read-only below `root`."""
    lines = ""
    for source, target in mounts:
        inside = root + target
        lines += f'mkdir -p "{os.path.dirname(inside)}"; touch "{inside}"; mount --bind "{source}" "{inside}"; '
        lines += f'mount -o remount,bind,ro "{inside}"; '
    return lines


def in_namespace(machine, mounts):
    """A root of its own, as engines make it."""
    # umount(8) wants a /proc.
    leave = "python3 -c 'import ctypes; assert ctypes.CDLL(None).umount2(b\"/old\", 2) == 0'"
    script = bind_script(mounts, machine.root) + f'cd "$1"; pivot_root . old; cd /; {leave}; exec /app/status'
    return run(["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh", machine.root])


def in_chroot(machine, mounts):
    script = bind_script(mounts, machine.root) + 'exec chroot "$1" /app/status'
    return run(["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh", machine.root])


def with_bubblewrap(machine, mounts):
    binds = [word for source, target in mounts for word in ("--ro-bind", source, target)]
    return run(["bwrap", "--bind", machine.root, "/", "--tmpfs", "/run", "--dev", "/dev", "--proc", "/proc", *binds, "/app/status"])


def crun_command(machine, mounts, scratch, program):
    """A real OCI runtime, with the mounts that the engines would put into its configuration."""
    bundle = tempfile.mkdtemp(dir=scratch)
    configuration = {
        "ociVersion": "1.0.0",
        "process": {"user": {"uid": 0, "gid": 0}, "args": [program], "cwd": "/", "env": ["LD_LIBRARY_PATH=/app"]},
        "root": {"path": machine.root, "readonly": False},
        "mounts": [
            {"destination": "/run", "type": "tmpfs", "source": "tmpfs"},
            *({"destination": target, "type": "bind", "source": source, "options": ["bind", "ro"]} for source, target in mounts),
        ],
        "linux": {"namespaces": [{"type": "mount"}]},
    }
    with open(os.path.join(bundle, "config.json"), "w") as file:
        json.dump(configuration, file)
    state = tempfile.mkdtemp(dir=scratch)
    return ["crun", "--root", state, "--cgroup-manager", "disabled", "run", "--bundle", bundle, "clonesafe-test"]


def with_crun(machine, mounts, scratch):
    return run(crun_command(machine, mounts, scratch, "/app/status"))


def in_private_devices(machine, mounts):
    """The mounts that systemd makes for PrivateDevices=yes: another /dev, the same /run."""
    script = 'mount --rbind /run "$1/run"; ' + bind_script([m for m in mounts if m[0] != PAGE], machine.root)
    script += 'exec chroot "$1" /app/status'
    return run(["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, "sh", machine.root])


def after_initialize(machine, library):
    """A program that calls cs_init before it goes into its chroot keeps what it saw."""
    child = os.fork()
    if child == 0:
        clonesafe = ctypes.CDLL(library)
        initialized = clonesafe.cs_init()
        os.chroot(machine.root)
        os.chdir("/")
        status = (ctypes.c_uint32 * 64)()
        good = initialized == 0 and clonesafe.cs_status(status, ctypes.c_size_t(ctypes.sizeof(status))) == 0
        os._exit(status[0] if good else 99)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def expect(what, tier, wanted):
    assert tier == wanted, f"{what}: tier {tier}, not {wanted}"
    print(f"{what}: {tier}")


def runs(command):
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0


def apparmor(snippets, scratch):
    if shutil.which("apparmor_parser"):
        profile = os.path.join(scratch, "profile")
        with open(profile, "w") as file:
            file.write(f'profile clonesafe_test /app/status {{\n  include "{os.path.join(snippets, "apparmor")}"\n}}\n')
        sh('apparmor_parser --skip-kernel-load --skip-cache "$1"', profile)
        print("apparmor: the rules are accepted by the parser")
    else:
        print("apparmor: rules not parsed: SKIPPED: no apparmor_parser")


def main():
    program, library, snippets = (os.path.realpath(path) for path in sys.argv[1:])
    enter_namespace()
    with tempfile.TemporaryDirectory() as scratch:
        # Before /run and /dev are others.
        machine = Machine(program, library, scratch)
        try:
            cases(machine, library, snippets, scratch)
        finally:
            subprocess.run(["umount", "-lR", machine.root], check=True)


def cases(machine, library, snippets, scratch):
    for name, mounts in (("compose", compose_mounts(snippets)), ("kubernetes", kubernetes_mounts(snippets)),
                         ("systemd", systemd_mounts(snippets))):
        assert (PAGE, PAGE) in mounts, (name, mounts)
    expect("namespace", in_namespace(machine, []), "none")
    expect("namespace, compose.yaml", in_namespace(machine, compose_mounts(snippets)), "word")
    expect("namespace, kubernetes-pod.yaml", in_namespace(machine, kubernetes_mounts(snippets)), "word")
    expect("chroot", in_chroot(machine, []), "none")
    expect("chroot, service.conf", in_chroot(machine, systemd_mounts(snippets)), "word")
    assert after_initialize(machine, library) == TIERS["word"]
    print("chroot after cs_init: word")

    if runs(["bwrap", "--ro-bind", "/", "/", "true"]):
        expect("bubblewrap", with_bubblewrap(machine, []), "none")
        expect("bubblewrap, compose.yaml", with_bubblewrap(machine, compose_mounts(snippets)), "word")
    else:
        print("bubblewrap: SKIPPED: it isn't installed, or may not run here")
    # crun wants cgroups of version 2 alone, also where it is told not to use them.
    subprocess.run(["mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup"], capture_output=True)
    if runs(crun_command(machine, [], scratch, "/bin/true")):
        expect("crun", with_crun(machine, [], scratch), "none")
        expect("crun, compose.yaml", with_crun(machine, compose_mounts(snippets), scratch), "word")
        expect("crun, kubernetes-pod.yaml", with_crun(machine, kubernetes_mounts(snippets), scratch), "word")
    else:
        print("crun: SKIPPED: it isn't installed, or may not run here")

    # VMCLOCK alone tells at the first instruction, and the page is the agent's plain one.
    machine.set_page("lagging")
    devices = os.path.join(scratch, "devices")
    os.mkdir(devices)
    sh('mount -t tmpfs tmpfs "$1"', devices)
    machine.fill_dev(devices)
    with open(os.path.join(devices, os.path.basename(VMCLOCK)), "wb") as file:
        file.write(vmclock())
    sh('mount --move "$1" /dev', devices)
    expect("VMCLOCK", run([os.path.join(machine.root, "app/status")], cwd=machine.root), "word")
    expect("PrivateDevices", in_private_devices(machine, []), "lagging")
    expect("PrivateDevices, service.conf", in_private_devices(machine, systemd_mounts(snippets, True)), "word")
    apparmor(snippets, scratch)


if __name__ == "__main__":
    main()
