"""The studio as a visitor meets it in Chromium: its start, its first pictures, a slider, a cancel.

    python experiments/service/studio.py

It starts `imggen studio` as a user does, in a new folder, and looks at what the page shows and when: times are those of
the page, with the server, the process that makes pictures, Gradio and the browser in them. Prints its figures as JSON
and adds them to results.json. Needs Chromium, and the extra `browser`.
"""
from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, Page, sync_playwright

RESULTS = Path(__file__).parent / "results.json"
PATIENCE = 300_000       # ms for anything
MOVES = 30               # of a slider
# Times from an action to what it changes, by the page's own clock: what is seen is what an observer of its tree sees.
WATCH = """([act, selector, attribute, pattern]) => new Promise((done) => {
  const read = () => [...document.querySelectorAll(selector)].filter((one) => one.offsetParent !== null)
    .map((one) => attribute ? one.getAttribute(attribute) : one.textContent).join("\\n");
  const before = read(), begun = performance.now();
  const seen = () => {
    const now = read();
    if (pattern ? !new RegExp(pattern).test(now) : now === before) return;
    watcher.disconnect();
    requestAnimationFrame(() => done(performance.now() - begun));
  };
  const watcher = new MutationObserver(seen);
  watcher.observe(document.body, { subtree: true, childList: true, attributes: true, characterData: true });
  if (act.key) document.dispatchEvent(new KeyboardEvent("keydown", { key: act.key, bubbles: true }));
  else {
    const slider = document.activeElement;
    slider.value = String(act.value);
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }
})"""


@contextlib.contextmanager
def studio(folder: Path) -> Iterator[tuple[subprocess.Popen, str, float]]:
    """A studio in a process of its own: the process, its address, and when it was started."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "imggen_jax.main", "studio", "--no-browser", "--port", str(port),
                                "--folder", str(folder)], start_new_session=True, stdout=subprocess.DEVNULL)
    try:
        yield process, f"http://127.0.0.1:{port}", begun
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def opened(browser: Browser, address: str) -> Page:
    """The studio's page, from the first moment on that somebody listens."""
    page = browser.new_context(viewport={"width": 1280, "height": 900}).new_page()
    page.set_default_timeout(PATIENCE)
    until = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(address.removeprefix("http://").split(":")):
            break
        time.sleep(0.02)
    page.goto(address)
    return page


def start(browser: Browser, folder: Path) -> dict[str, float]:
    """Seconds from the command to: a page that can be used, the first pictures, all, the words that the model knows."""
    with studio(folder) as (process, address, begun):
        page = opened(browser, address)
        page.get_by_role("button", name="Make", exact=True).first.click(trial=True)   # seen, enabled, and still
        found = {"page": time.monotonic() - begun, "page_processor": busy(process.pid)}
        page.locator(".shelf .picture img").first.wait_for()
        page.wait_for_function("document.querySelector('.shelf .picture img').naturalWidth > 0")
        found["pictures"] = time.monotonic() - begun
        page.wait_for_function("document.querySelectorAll('.shelf .picture').length >= 12")
        found["all_twelve"] = time.monotonic() - begun
        page.locator(".known[data-words*=smiling]").wait_for(state="attached")
        found["words"] = time.monotonic() - begun
        page.context.close()
    return found


def busy(process: int) -> float:
    """Seconds of processor time that a process and those that it started have used."""
    ids = [process, *map(int, Path(f"/proc/{process}/task/{process}/children").read_text().split())]
    return sum(sum(map(int, Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()[11:13]))
               for each in ids) / os.sysconf("SC_CLK_TCK")


def slider(page: Page) -> list[float]:
    """Milliseconds from a move of a slider to the picture that follows, of `MOVES`; the first one compiles."""
    page.locator(".shelf .picture").first.click()
    page.locator(".one dl").first.wait_for()
    page.get_by_role("button", name="Edit", exact=True).locator("visible=true").first.click()
    page.locator(".live img").wait_for()
    page.locator("input[type=range]:visible").first.focus()
    took = []
    for move in range(MOVES + 1):
        value = round(-1.4 + 2.8 * (7 * move % MOVES) / MOVES, 1)
        took.append(page.evaluate(WATCH, [{"value": value}, ".live img", "src", ""]))
    return took[1:]


def cancels(page: Page, after: list[float]) -> list[float]:
    """Seconds from Esc to "Canceled", that many seconds after 36 pictures were begun, where they are not done yet."""
    page.get_by_role("tab", name="Create", exact=True).click()
    page.get_by_role("spinbutton").first.fill("36")
    took = []
    for turn, seconds in enumerate(after):
        page.locator("#prompt textarea").fill(f"a {['sad', 'smiling'][turn % 2]} person with glasses")
        page.get_by_role("button", name="Make", exact=True).locator("visible=true").first.click()
        page.locator(".told:visible", has_text="Making: ").first.wait_for()   # it runs, and does not wait for another
        page.wait_for_timeout(1000 * seconds)
        if not page.locator(".told:visible", has_text="Making: ").count():   # the pictures were quicker
            continue
        took.append(page.evaluate(WATCH, [{"key": "Escape"}, ".told", "", "Canceled|pictures in "]) / 1000)
    return took


def measured(turns: int) -> dict[str, Any]:
    """Everything, each start in a folder of its own; the first start only warms the caches."""
    with tempfile.TemporaryDirectory() as place, sync_playwright() as driver:
        chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        starts = [start(browser, Path(place) / str(turn)) for turn in range(turns + 1)][1:]
        with studio(Path(place) / "0") as (_, address, _):
            page = opened(browser, address)
            page.locator(".shelf .picture img").first.wait_for()
            moves = slider(page)
            ends = cancels(page, [0.1, 0.3, 0.5, 0.7, 0.9])
        browser.close()
    rank = sorted(moves)
    return {"seconds_from_the_command_to": {name: round(statistics.median(one[name] for one in starts), 1)
                                            for name in starts[0] if name != "page_processor"},
            "processor_seconds_to_the_page": round(statistics.median(one["page_processor"] for one in starts), 1),
            "slider_ms": {"p50": round(rank[len(rank) // 2]), "p95": round(rank[int(0.95 * len(rank))])},
            "seconds_from_escape_to_canceled": [round(one, 2) for one in ends]}


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--turns", type=int, default=3, help="starts, whose medians are kept")
    found = {**measured(parser.parse_args().turns), "load_average": round(os.getloadavg()[0], 1)}
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps({**results, "studio": found}, indent=1) + "\n")
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
