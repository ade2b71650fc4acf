#!/usr/bin/env python3
"""Run a command and say what it took: minutes, processor minutes, and the most memory of its processes together.

  peak.py [--below MIB] COMMAND…

Memory is the proportional set size of the command's descendants, summed, four times a second; shared pages count once.
Ends with the command's exit code, or with 1 if the peak was not below MIB.
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
    """KiB of a process and its descendants."""
    tree, todo, total = children(), [root], 0
    while todo:
        pid = todo.pop()
        todo += tree.get(pid, [])
        try:
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
        except OSError:
            continue
    return total


def main():
    args = sys.argv[1:]
    below = None
    if args[:1] == ["--below"]:
        below, args = int(args[1]), args[2:]
    if not args:
        sys.exit(__doc__)
    began, peak = time.monotonic(), 0
    process = subprocess.Popen(args)
    while process.poll() is None:
        peak = max(peak, memory(process.pid))
        time.sleep(0.25)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{(time.monotonic() - began) / 60:.1f} min, {(used.ru_utime + used.ru_stime) / 60:.1f} processor min, "
          f"peak {peak / 1024:.0f} MiB of all processes, {used.ru_maxrss / 1024:.0f} MiB of the largest", file=sys.stderr)
    if process.returncode == 0 and below is not None and peak / 1024 >= below:
        sys.exit(f"the peak is not below {below} MiB")
    sys.exit(process.returncode if process.returncode >= 0 else 1)


if __name__ == "__main__":
    main()
