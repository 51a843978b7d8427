"""Free memory, on made-up files of /proc and /sys."""
import pytest

from imggen_jax.data.memory import free_memory

GIB = 2**30


@pytest.fixture
def machine(tmp_path):
    """A function that writes files below a root and says how much is free there, in GiB."""
    def free(files):
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(str(content))
        return free_memory(tmp_path) / GIB

    return free


MACHINE = {"proc/meminfo": "MemTotal: 16777216 kB\nMemFree: 1048576 kB\nMemAvailable:    8388608 kB\n"}
V2 = {**MACHINE, "proc/self/cgroup": "0::/user/app\n", "sys/fs/cgroup/user/app/memory.max": "max\n",
      "sys/fs/cgroup/user/app/memory.current": f"{GIB}\n"}
V1 = {**MACHINE, "proc/self/cgroup": "9:cpu:/\n4:memory:/box\n0::/\n",
      "sys/fs/cgroup/memory/box/memory.limit_in_bytes": 3 * GIB,
      "sys/fs/cgroup/memory/box/memory.usage_in_bytes": 2 * GIB,
      "sys/fs/cgroup/memory/box/memory.stat": f"cache 5\ntotal_inactive_file {GIB}\ninactive_file 7\n"}


def test_without_a_limit_it_is_what_the_machine_has(machine):
    assert machine(MACHINE) == 8
    assert machine(V2) == 8


def test_a_limit_of_version_2_less_what_is_used(machine):
    assert machine({**V2, "sys/fs/cgroup/user/app/memory.max": 2 * GIB}) == 1


def test_file_pages_that_can_be_dropped_do_not_count(machine):
    assert machine({**V2, "sys/fs/cgroup/user/app/memory.max": 2 * GIB,
                    "sys/fs/cgroup/user/app/memory.stat": f"anon 3\ninactive_file {GIB // 2}\n"}) == 1.5


def test_a_limit_around_the_cgroup_counts_too(machine):
    assert machine({**V2, "sys/fs/cgroup/user/memory.max": 7 * GIB, "sys/fs/cgroup/user/memory.current": 4 * GIB}) == 3


def test_in_a_container_the_limit_lies_at_the_mount(machine):
    assert machine({**MACHINE, "proc/self/cgroup": "0::/not/mounted\n", "sys/fs/cgroup/memory.max": 900 * 2**20,
                    "sys/fs/cgroup/memory.current": 388 * 2**20}) == 0.5


def test_a_limit_of_version_1(machine):
    assert machine(V1) == 2
    assert machine({**V1, "sys/fs/cgroup/memory/box/memory.limit_in_bytes": 2**63 - 4096}) == 8  # none


def test_more_than_the_machine_has_is_not_free(machine):
    assert machine({**V2, "sys/fs/cgroup/user/app/memory.max": 100 * GIB}) == 8


def test_nothing_is_free_below_zero(machine):
    assert machine({**V2, "sys/fs/cgroup/user/app/memory.max": GIB // 2}) == 0


def test_elsewhere_it_is_the_memory_of_the_machine(machine):
    assert machine({}) > 0.1
