#!/usr/bin/env python3
"""Run a command and say what it took: minutes, processor minutes, and the most memory of its processes together.

  peak.py [--below MIB] COMMAND…

Memory is what the command's descendants hold together, looked at four times a second, shared pages counted once. The limit is for
what has no file behind it, which a machine without swap must have; pages of program files are named beside it, they can be
dropped and read again. Ends with the command's exit code, or with 1 if the peak was not below MIB.
"""
import resource
import subprocess
import sys
import time
from pathlib import Path


def children():
    """Parent of each process: {pid: [children]}."""
    tree = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        tree.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    return tree


def memory(root):
    """KiB of a process and its descendants: without a file behind it, and with mapped files."""
    tree, todo, own, mapped = children(), [root], 0, 0
    while todo:
        pid = todo.pop()
        todo += tree.get(pid, [])
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                name, _, size = line.partition(":")
                if name in ("Pss_Anon", "Pss_Shmem"):
                    own += int(size.split()[0])
                elif name == "Pss_File":
                    mapped += int(size.split()[0])
        except OSError:
            continue
    return own, own + mapped


def main():
    args = sys.argv[1:]
    below = None
    if args[:1] == ["--below"]:
        below, args = int(args[1]), args[2:]
    if not args:
        sys.exit(__doc__)
    began, peak, with_files = time.monotonic(), 0, 0
    process = subprocess.Popen(args)
    while process.poll() is None:
        own, all_of_it = memory(process.pid)
        peak, with_files = max(peak, own), max(with_files, all_of_it)
        time.sleep(0.25)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{(time.monotonic() - began) / 60:.1f} min, {(used.ru_utime + used.ru_stime) / 60:.1f} processor min, "
          f"peak {peak / 1024:.0f} MiB of all processes together, {with_files / 1024:.0f} MiB with program files, "
          f"{used.ru_maxrss / 1024:.0f} MiB of the largest with them", file=sys.stderr)
    if process.returncode == 0 and below is not None and peak / 1024 >= below:
        sys.exit(f"the peak is not below {below} MiB")
    sys.exit(process.returncode if process.returncode >= 0 else 1)


if __name__ == "__main__":
    main()
