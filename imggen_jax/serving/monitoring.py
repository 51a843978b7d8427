"""Figures of a service as text for Prometheus (exposition format 0.0.4). None of them says who asked, or what for."""
from __future__ import annotations

import collections
import resource
import threading
from collections.abc import Iterable, Mapping

BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)  # seconds
_BATCHES = (1, 2, 4, 8, 16, 32, 64)                                      # requests


class Histogram:
    """Counts of values up to each bound, of one label."""

    def __init__(self, bounds: Iterable[float]):
        self._bounds = tuple(bounds)
        self._counts: dict[str, list[int]] = collections.defaultdict(lambda: [0] * (len(self._bounds) + 1))
        self._sums: dict[str, float] = collections.defaultdict(float)

    def add(self, label: str, value: float) -> None:
        """One value."""
        place = next((k for k, bound in enumerate(self._bounds) if value <= bound), len(self._bounds))
        self._counts[label][place] += 1
        self._sums[label] += value

    def lines(self, name: str, label_name: str) -> list[str]:
        """As Prometheus reads them."""
        said = [f"# TYPE {name} histogram"]
        for label, counts in sorted(self._counts.items()):
            total = 0
            for bound, count in zip((*map(repr, self._bounds), "+Inf"), counts):
                total += count
                said.append(f'{name}_bucket{{{label_name}="{label}",le="{bound}"}} {total}')
            said += [f'{name}_sum{{{label_name}="{label}"}} {self._sums[label]:.6g}',
                     f'{name}_count{{{label_name}="{label}"}} {total}']
        return said


class Metrics:
    """What a service has done since it started."""

    def __init__(self):
        self._lock = threading.Lock()
        self._answers: collections.Counter[tuple[str, int]] = collections.Counter()
        self._pictures: collections.Counter[str] = collections.Counter()
        self._seconds, self._batches = Histogram(BOUNDS), Histogram(_BATCHES)

    def answered(self, route: str, status: int, seconds: float) -> None:
        """A request was answered; route: as it is declared, without what was asked for. status 0: nobody waited."""
        with self._lock:
            self._answers[route, status] += 1
            self._seconds.add(route, seconds)

    def made(self, model: str, pictures: int, requests: int) -> None:
        """A batch was made."""
        with self._lock:
            self._pictures[model] += pictures
            self._batches.add(model, requests)

    def text(self, gauges: Mapping[str, float]) -> str:
        """The whole page; gauges: further figures of this moment."""
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        gauges = {**gauges, "memory_bytes": _resident(), "memory_peak_bytes": peak}
        with self._lock:
            said = ["# TYPE imggen_requests_total counter"]
            said += [f'imggen_requests_total{{route="{route}",status="{status}"}} {count}'
                     for (route, status), count in sorted(self._answers.items())]
            said += ["# TYPE imggen_pictures_total counter"]
            said += [f'imggen_pictures_total{{model="{model}"}} {count}'
                     for model, count in sorted(self._pictures.items())]
            said += self._seconds.lines("imggen_request_seconds", "route")
            said += self._batches.lines("imggen_batch_requests", "model")
        for name, value in gauges.items():
            said += [f"# TYPE imggen_{name} gauge", f"imggen_{name} {value:.10g}"]
        return "\n".join(said) + "\n"


def _resident() -> float:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize()
    except OSError:                              # no Linux
        return 0.0
