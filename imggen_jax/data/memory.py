"""How much memory is free, in a container too."""
from __future__ import annotations

import os
import re
from pathlib import Path


def free_memory(root: Path = Path("/")) -> int:
    """Bytes that can still be allocated: the least of what Linux calls available and what each cgroup leaves.

    A cgroup leaves its limit less its usage, not counting file pages that can be dropped; a container's limit is of
    this kind and does not show in /proc/meminfo. Elsewhere than on Linux, all the memory of the machine.

    root: the folder that holds proc/ and sys/.
    """
    free = [_available(root / "proc/meminfo"), *_cgroups(root)]
    known = [each for each in free if each is not None]
    return max(0, min(known)) if known else os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _available(file: Path) -> int | None:
    match = re.search(r"MemAvailable:\s*(\d+) kB", _read(file))
    return int(match.group(1)) * 1024 if match else None


def _cgroups(root: Path) -> list[int | None]:
    """What each cgroup of this process, and each around it, leaves."""
    mount, free = root / "sys/fs/cgroup", []
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            free += [_left(folder, "memory.max", "memory.current", "inactive_file") for folder in _up(mount, path)]
        elif "memory" in controllers.split(","):
            free += [_left(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
                     for folder in _up(mount / "memory", path)]
    return free


def _up(mount: Path, path: str) -> list[Path]:
    """The folder of a cgroup and of those around it. In a container only the mount itself may be there."""
    folder = Path(path.lstrip("/"))
    return [mount / part for part in (folder, *folder.parents)]


def _left(folder: Path, limit: str, usage: str, droppable: str) -> int | None:
    most, used = _read(folder / limit).strip(), _read(folder / usage).strip()
    if not most.isdigit() or not used.isdigit():  # "max": no limit
        return None
    pages = re.search(rf"^{droppable} (\d+)$", _read(folder / "memory.stat"), re.MULTILINE)
    return int(most) - int(used) + (int(pages.group(1)) if pages else 0)


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
