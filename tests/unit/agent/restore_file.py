#!/usr/bin/python3
"""Writes restore page and seed page to a file, in place, as a VMM does between a restore and the first instruction.
usage: restore_file.py FILE boot|resume|clone|move GENERATION SERIAL"""
import os
import struct
import sys
import time

KINDS = {"boot": 1, "resume": 2, "clone": 3, "move": 4}


def main():
    path, kind, generation, serial = sys.argv[1], KINDS[sys.argv[2]], int(sys.argv[3]), int(sys.argv[4])
    page = struct.pack(
        "<8sIIIIQQ16s16sQQIIQ", b"CLSPRE01", 1, 0x1000, 2 * serial, kind, generation, 1000 + serial, bytes([generation % 256]) * 16,
        bytes([serial]) * 16, time.time_ns(), 0, 0, 0, 0)
    page = page.ljust(0x2000, b"\0")
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
    os.pwrite(fd, page, 0)
    os.close(fd)


main()
