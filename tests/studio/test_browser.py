"""The pages in a browser: keys, tasks, what is loaded, what a screen reader and a phone find. With a fake worker.

They need Debian's chromium, or another one on the path, and the extra `browser`.
"""
import re
import shutil
import socket
import threading
import time

import pytest
import uvicorn
from PIL import Image

from imggen_jax.studio import app

playwright = pytest.importorskip("playwright.sync_api", reason="pip install 'imggen_jax[browser]'")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed; as by apt-get install chromium")
PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}
PAGES = ("Create", "Edit", "Retouch", "My pictures", "Check", "Gallery")
PATIENCE = 100_000  # ms: of a machine that does much else


@pytest.fixture
def address(studio):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app.serve(studio, "127.0.0.1", port), "127.0.0.1", port,
                                           log_level="critical"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{port}"
    server.force_exit = server.should_exit = True
    thread.join(20)


@pytest.fixture
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield opened
        opened.close()


class Visit:
    """A page that was opened, and what went wrong in it."""

    def __init__(self, browser, address, viewport=DESKTOP, **more):
        self.page = browser.new_context(viewport=viewport, **more).new_page()
        self.page.set_default_timeout(PATIENCE)
        self.requested, self.errors = [], []
        self.page.on("request", lambda request: self.requested.append(request.url))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("console", lambda line: self.errors.append(line.text) if line.type == "error" else None)
        self.page.goto(address)
        self.page.get_by_role("button", name="Make", exact=True).first.wait_for()
        self.page.locator(".known[data-words*=smiling]").wait_for(state="attached")

    def go(self, name):
        self.page.get_by_role("tab", name=name, exact=True).click()

    def press(self, name):
        self.page.get_by_role("button", name=name, exact=True).locator("visible=true").first.click()

    def bring(self, path):
        """Put a file into the first field for files that is shown."""
        shown = self.page.get_by_role("tabpanel").locator("visible=true")
        shown.locator("input[type=file]").first.set_input_files(path)

    def told(self, text):
        self.page.locator(".told", has_text=re.compile(text)).locator("visible=true").first.wait_for()

    def faults(self):
        """What axe-core finds against WCAG 2 A and AA in what is shown: rule and elements."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa"],
                                              "resultTypes": ["violations"]}).response["violations"]
        return [(one["id"], [node["html"][:150] for node in one["nodes"]]) for one in found]


def test_a_visitor_makes_cancels_and_chooses_by_keys_alone(studio, browser, address):
    visit = Visit(browser, address)
    page = visit.page
    page.locator("#prompt textarea").fill("a sad person with blue ")
    page.locator("#prompt textarea").press("End")
    page.keyboard.type("zz")
    assert page.locator(".known .word").count() == 0      # no word begins so
    page.keyboard.press("Backspace")
    page.keyboard.press("Backspace")
    page.keyboard.type("gl")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert page.locator("#prompt textarea").input_value() == "a sad person with blue glasses "
    page.keyboard.press("Control+Enter")
    visit.told(r"4 pictures in")
    assert studio.home.index.find()[0].prompt == "a sad person with blue glasses"
    assert "imggen generate --model avatars" in page.locator(".command textarea").first.input_value()
    page.get_by_role("spinbutton").first.fill("36")
    page.locator("#prompt textarea").fill("slowly")       # for ten seconds
    page.keyboard.press("Control+Enter")
    visit.told(r"Making")
    page.keyboard.press("Escape")
    visit.told(r"Canceled")
    page.locator(".shelf .picture").first.focus()
    page.keyboard.press("Enter")
    page.locator(".one dl").first.wait_for()
    assert not visit.errors
    assert visit.requested and all(url.startswith((f"{address}/", "data:", "blob:")) for url in visit.requested)
    page.evaluate("setTimeout(() => { throw Error('it broke') })")
    page.locator("#complaint", has_text="it broke).").wait_for()
    page.evaluate("void Promise.reject(Error('a promise'))")
    page.locator("#complaint", has_text="a promise").wait_for()
    assert page.locator("#prompt textarea").input_value() == "slowly"     # what was typed stays


@pytest.mark.slow
@pytest.mark.parametrize("more", [{"viewport": DESKTOP}, {"viewport": PHONE}, {"color_scheme": "dark"}],
                         ids=["desktop", "phone", "dark"])
def test_every_page_can_be_read(studio, browser, address, more):
    visit = Visit(browser, address, **more)
    visit.press("Make")
    visit.told(r"pictures in")
    faults, wide = {}, {}
    for name in PAGES:
        visit.go(name)
        time.sleep(1)
        faults[name] = visit.faults()
        wide[name] = visit.page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
    assert not any(faults.values()), faults
    assert max(wide.values()) <= 0, f"pages are wider than the window, by pixels: {wide}"
    assert not visit.errors


@pytest.mark.slow
def test_edit_in_the_browser(studio, browser, address):
    visit = Visit(browser, address)
    page = visit.page
    visit.press("Make")
    visit.told(r"pictures in")
    page.locator(".shelf .picture").first.click()
    page.locator(".one dl").first.wait_for()
    visit.press("Edit")
    page.locator(".live img").wait_for()      # the page is shown: until then, sliders are those of Create
    slider = page.locator("input[type=range]:visible").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    page.locator(".live img[alt*=sliders]").wait_for()
    visit.press("Keep this")
    visit.told(r"1 picture in")
    visit.go("Breed and morph")
    shelves = page.locator(".shelf:visible")
    shelves.nth(1).wait_for()                 # what was just made can be chosen, above what was kept
    shelves.first.locator(".picture").first.click()
    shelves.nth(2).wait_for()                 # the tray
    shelves.nth(1).locator(".picture").nth(3).click()
    shelves.first.locator(".picture").nth(1).wait_for()
    visit.press("Breed")
    visit.told(r"6 pictures in")
    child = studio.home.index.find()[0]
    assert child.verb == "breed" and len(studio.home.index.parents(child.id)) == 2 and not visit.errors


@pytest.mark.slow
def test_retouch_in_the_browser(studio, browser, address, tmp_path):
    Image.new("RGB", (120, 90), (200, 90, 20)).save(tmp_path / "photo.png")
    visit = Visit(browser, address)
    page = visit.page
    visit.press("Make")
    visit.told(r"pictures in")
    page.locator(".shelf .picture").first.click()
    page.locator(".one dl").first.wait_for()
    visit.press("Retouch")
    board = page.locator(".board canvas").first
    board.wait_for()                          # with the picture, though the page was never shown before
    visit.bring(tmp_path / "photo.png")
    page.locator(".told, [role=status]", has_text="120 x 90").locator("visible=true").first.wait_for()
    page.wait_for_function("(([c]) => c.width > 1.3 * c.height)(document.querySelectorAll('.board canvas'))")
    visit.press("Make")
    visit.told(r"nothing is drawn or marked")
    box = board.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 3, box["y"] + box["height"] / 3)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    page.mouse.up()
    visit.press("Make")
    visit.told(r"1 picture in")
    words = studio.home.index.find()[0].command
    mask = Image.open(words[words.index("--mask") + 1])
    assert mask.size == (120, 90) and mask.getpixel((50, 37))[:3] == (255, 255, 255)
    assert mask.getpixel((5, 5))[:3] == (0, 0, 0) and not visit.errors


@pytest.mark.slow
def test_check_and_gallery_in_the_browser(studio, browser, address, tmp_path):
    Image.new("RGB", (120, 90), (200, 90, 20)).save(tmp_path / "photo.png")
    visit = Visit(browser, address)
    page = visit.page
    visit.press("Make")
    visit.told(r"pictures in")
    visit.go("Check")
    visit.bring(tmp_path / "photo.png")
    page.locator(".verdict", has_text="A machine made it").wait_for()
    visit.go("Gallery")
    page.locator(".cell img").first.wait_for()
    page.get_by_label("Words of the prompt, model or verb").fill("nothing like it")
    page.locator(".count", has_text="No picture is found").wait_for()
    visit.press("Show all")
    page.locator(".cell img").first.click()
    visit.press("Delete")
    page.locator(".count", has_text="3 pictures").wait_for()
    visit.press("Undo delete")
    page.locator(".count", has_text="4 pictures").wait_for()
    assert studio.home.index.count() == 4 and not visit.errors


@pytest.mark.slow
def test_the_gallery_holds_25000_pictures(studio, browser, address):
    first = studio.home.bring(_one(studio.home.folder / "x.png"), "x")
    studio.home.index.add(first._replace(id=f"{k:016x}", time=float(k), prompt=f"picture {k}") for k in range(25_000))
    visit = Visit(browser, address)
    visit.go("Gallery")
    visit.page.locator(".count", has_text="25,001 pictures").wait_for()
    assert visit.page.locator(".cell").count() < 100          # only what can be seen is in the page
    visit.page.evaluate("document.querySelector('.gallery .view').scrollTop = 1e9")
    visit.page.locator('.cell[aria-label="picture 0"]').wait_for()
    visit.page.get_by_label("Words of the prompt, model or verb").fill("picture 12345")
    visit.page.locator(".count", has_text="1 picture").wait_for()
    assert not visit.errors


def _one(path):
    Image.new("RGB", (64, 64), (9, 90, 160)).save(path)
    return path
