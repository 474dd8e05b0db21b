#!/usr/bin/python3
"""The examples of values and hooks, over a restore: a generation page of this test's that moves.
usage: examples_test.py POOL ASIO_SERVER"""
import os
import socket
import struct
import subprocess
import sys
import tempfile


class Page:
    """docs/formats/generation-page.md, as the agent writes it."""

    def __init__(self, path):
        self.path = path
        self.count = 0
        with open(path, "wb") as file:
            file.write(struct.pack("<8sIIQ", b"CLSGEN01", 1, 0x1000, 0).ljust(0x1000, b"\0"))
        self.move(1)

    def move(self, generation):
        self.count += 1
        slot = self.count % 2
        contents = struct.pack("<QQQ32s16s16sQQII", generation, generation, generation, bytes([generation]) * 32, bytes(16),
                               bytes([generation]) * 16, 0, 1, 2, 3)
        with open(self.path, "r+b", buffering=0) as file:
            os.pwrite(file.fileno(), contents, 0x100 * (slot + 1))
            os.pwrite(file.fileno(), struct.pack("<Q", self.count << 2 | slot), 0x10)


def pool(program, environment, page):
    process = subprocess.Popen([program], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(word):
        process.stdin.write(word + "\n")
        process.stdin.flush()
        return process.stdout.readline().split()

    first, again = ask("one"), ask("two")
    assert first[:2] == ["one", "over"] and again[2:] == [first[2], "connection", "2"], (first, again)
    page.move(2)
    dropped = ask("three")
    assert dropped == ["pool", first[2], "drops", "its", "connections"], dropped
    other = process.stdout.readline().split()
    assert other[0] == "three" and other[2] != first[2] and other[3:] == ["connection", "1"], other
    rest = process.communicate()[0].split()
    assert rest == ["pool", other[2], "closes", "its", "connections"], rest
    assert process.returncode == 0, process.returncode


def server(program, environment, page):
    process = subprocess.Popen([program], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        port = int(process.stdout.readline())

        def connect():
            connection = socket.create_connection(("127.0.0.1", port), timeout=30)
            connection.sendall(b"who\n")
            return connection, connection.makefile().readline()

        old, name = connect()
        with old, connect()[0]:
            page.move(3)
            assert old.makefile().read() == "", "the inherited session is dropped"
        new, other = connect()
        new.close()
        assert len(name) == len(other) == 37 and name != other, (name, other)
    finally:
        process.kill()
        process.communicate()


def main():
    with tempfile.TemporaryDirectory() as folder:
        page = Page(folder + "/generation")
        environment = os.environ | {
            "CLONESAFE_GENERATION_PAGE": page.path, "CLONESAFE_AGENT_SOCKET": folder + "/no-agent"}
        pool(sys.argv[1], environment, page)
        server(sys.argv[2], environment, page)
    print("passed")


main()
