#!/usr/bin/python3
"""Probe of a program that is started anew for each draw, from a parent that lives through the snapshot; see README.md.
usage: probe_command.py COMMAND [ARGUMENT]... LOGFILE      COMMAND writes the value to its stdout, in hex"""
import mmap
import struct
import subprocess
import sys
import time

MAGIC = b"CLONESAFE-AUDIT-PROBE-LOG-v1 \r\n\0"


def main():
    if len(sys.argv) < 3:
        sys.exit("usage: probe_command.py COMMAND [ARGUMENT]... LOGFILE")
    command = sys.argv[1:-1]
    with open(sys.argv[-1], "r+b") as file:
        log = mmap.mmap(file.fileno(), 0)
    if log[0:32] != MAGIC:
        sys.exit(f"probe_command.py: {sys.argv[-1]} is not a probe log")
    (capacity,) = struct.unpack_from("<Q", log, 40)
    words = memoryview(log).cast("Q")
    index = words[7]
    while True:
        words[6] = index + 1
        result = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        value = bytes.fromhex(result.stdout.decode().strip())
        struct.pack_into("<24sQ", log, 4096 + index % capacity * 32, value, time.monotonic_ns())
        words[7] = index + 1
        index += 1


main()
