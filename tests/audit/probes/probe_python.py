#!/usr/bin/python3
"""Probe of Python's own sources, see README.md. usage: probe_python.py random|uuid4|ssl|secrets LOGFILE"""
import mmap
import os
import random
import secrets
import ssl
import struct
import sys
import time
import uuid

MAGIC = b"CLONESAFE-AUDIT-PROBE-LOG-v1 \r\n\0"
SOURCES = {
    "random": lambda: random.getrandbits(128).to_bytes(16, "little"),
    "uuid4": lambda: uuid.uuid4().bytes,
    "ssl": lambda: ssl.RAND_bytes(16),
    "secrets": lambda: secrets.token_bytes(16),
}


def main():
    if len(sys.argv) != 3 or sys.argv[1] not in SOURCES:
        sys.exit(f"usage: probe_python.py {'|'.join(SOURCES)} LOGFILE")
    draw = SOURCES[sys.argv[1]]
    with open(sys.argv[2], "r+b") as file:
        log = mmap.mmap(file.fileno(), 0)
    if log[0:32] != MAGIC:
        sys.exit(f"probe_python.py: {sys.argv[2]} is not a probe log")
    (capacity,) = struct.unpack_from("<Q", log, 40)
    # A view of 8-byte words: one store each, so that no counter is ever seen half written.
    words = memoryview(log).cast("Q")
    index = words[7]
    while True:
        words[6] = index + 1
        value = draw()
        struct.pack_into("<24sQ", log, 4096 + index % capacity * 32, value, time.monotonic_ns())
        words[7] = index + 1
        index += 1
        until = time.monotonic_ns() + 1_000_000
        while time.monotonic_ns() < until:
            os.sched_yield()


main()
