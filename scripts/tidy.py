#!/usr/bin/env python3
"""clang-tidy-19 over the sources that a build compiles, two at a time.

A source that was clean is not checked again until something that it is made of changes: itself, a header, its
compiler flags, or a .clang-tidy. What was clean is remembered in ~/.cache/clonesafe/tidy.
"""
import argparse
import concurrent.futures
import functools
import hashlib
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "debug"  # it compiles each source by itself
STAMPS = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "clonesafe" / "tidy"
TIDY = "clang-tidy-19"


def output_of(*command):
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


@functools.cache
def digest_of(path):
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return "missing"


class Source:
    """One source with the files that the build's last compilation of it read."""

    def __init__(self, entry, files):
        self.path = pathlib.Path(entry["file"])
        self.name = str(self.path.relative_to(ROOT))
        self.files = files
        self.compiled = len(files) > 1  # else nothing is known of its headers, and nothing can be remembered
        self.flags = entry["command"].replace(str(ROOT), "")  # the same in every checkout

    def depends_on(self, names):
        return any(str(file.relative_to(ROOT)) in names for file in self.files if file.is_relative_to(ROOT))

    def folder_settings(self):
        folders = [folder for folder in self.path.parents if folder.is_relative_to(ROOT) and folder != ROOT]
        return "".join(file.read_text() for folder in folders if (file := folder / ".clang-tidy").exists())

    def stamp(self, settings):
        digest = hashlib.sha256((settings + self.folder_settings()).encode())
        digest.update(self.flags.encode())
        for file in sorted(self.files):
            digest.update(digest_of(file).encode())
        return STAMPS / digest.hexdigest()


def dependencies():
    """Of each object, what `ninja -t deps` says that it was compiled from."""
    found, current = {}, set()
    for line in output_of("ninja", "-C", str(BUILD), "-t", "deps").splitlines():
        if line.startswith(" "):
            current.add(pathlib.Path(os.path.normpath(BUILD / line.strip())))
        elif ": #deps" in line:
            current = found.setdefault(line.split(": #deps")[0], set())
    return found


def sources():
    files_of = dependencies()
    by_name = {}
    for entry in json.loads((BUILD / "compile_commands.json").read_text()):
        path = pathlib.Path(entry["file"])
        if path.suffix != ".cc" or not path.is_relative_to(ROOT) or path.is_relative_to(BUILD):
            continue
        files = files_of.get(re.search(r" -o (\S+) -c ", entry["command"]).group(1), set())
        by_name.setdefault(str(path), Source(entry, files | {path}))
    return sorted(by_name.values(), key=lambda source: source.name)


def changed_since(commit):
    changed = output_of("git", "diff", "--name-only", commit).splitlines()
    return set(changed) | set(output_of("git", "ls-files", "--others", "--exclude-standard").splitlines())


def check(source, settings):
    stamp = source.stamp(settings)
    if source.compiled and stamp.exists():
        return None
    command = [TIDY, "--quiet", "-p", str(BUILD), "--extra-arg=-Wno-unknown-warning-option", str(source.path)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if run.returncode != 0:
        return run.stdout.strip() or run.stderr.strip()
    if source.compiled:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()
    return ""


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--since", metavar="COMMIT", help="only what was changed, or includes what was changed, since then")
    parser.add_argument("files", nargs="*", help="only these sources")
    options = parser.parse_args()
    if not (BUILD / "compile_commands.json").exists():
        sys.exit("tidy: no build/debug/compile_commands.json; run scripts/build.sh debug")
    chosen = sources()
    if options.files:
        names = {str(pathlib.Path(file).resolve().relative_to(ROOT)) for file in options.files}
        chosen = [source for source in chosen if source.name in names]
        if unknown := names - {source.name for source in chosen}:
            sys.exit("tidy: build/debug does not compile " + ", ".join(sorted(unknown)))
    if options.since:
        names = changed_since(options.since)
        chosen = [source for source in chosen if source.depends_on(names)]
    settings = output_of(TIDY, "--version") + (ROOT / ".clang-tidy").read_text()
    checked = dirty = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for found in pool.map(lambda source: check(source, settings), chosen):
            checked += found is not None
            if found:
                dirty += 1
                print(found, flush=True)
    print(f"tidy: {len(chosen)} sources, {checked} checked, {dirty} not clean")
    sys.exit(1 if dirty else 0)


if __name__ == "__main__":
    main()
