"""Draws the picture of the page at the top of the README: a real server, a real browser, a prior that was moved.

python docs/page_picture.py --model BUNDLE --text TEXT --prior '{"TOPIC": 0.5, ...}' [--all FOLDER]

Sliders stand at the shares given: 1 is a slider's end, topics that are left out stay where the training set has them.
With --all, the page at desktop and phone width, light and dark, goes into a folder too, to be looked at.
"""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from playwright.sync_api import Browser, Page, sync_playwright

PICTURE = Path(__file__).with_name("page.png")
DESKTOP, PHONE = (1180, 860), (390, 844)
READY_SECONDS = 300


def free_port() -> int:
    """A port that nobody listens at."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def wait_for(port: int) -> None:
    """Until somebody listens there; the server answers once the bundle is loaded."""
    for _ in range(10 * READY_SECONDS):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit("the server does not listen")


def opened(browser: Browser, address: str, size: tuple[int, int], scheme: Any) -> Page:
    """The page in a window of that size, once it has its systems."""
    width, height = size
    scale = 2 if size == PHONE else 1.5
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, device_scale_factor=scale
    )
    page = context.new_page()
    page.goto(address, timeout=1000 * READY_SECONDS)
    page.locator("#systems section").first.wait_for()
    return page


def asked(page: Page, text: str, prior: dict[str, float]) -> None:
    """Predict the text as trained, then move the sliders."""
    page.get_by_text("training", exact=True).first.click()
    page.locator("#text").fill(text)
    page.get_by_role("button", name="Predict").click()
    page.locator("#stop").wait_for(state="hidden")
    for topic, share in prior.items():
        # The page's own scale: four powers of ten on a slider from 0 to 100.
        slider = page.get_by_label(topic, exact=True)
        slider.evaluate(
            "(one, share) => { one.value = share > 0 ? 100 + 25 * Math.log10(share) : 0;"
            " one.dispatchEvent(new Event('input', {bubbles: true})); }",
            share,
        )
    page.wait_for_timeout(200)
    write = page.locator("#systems .notice button")
    if write.first.is_visible():
        write.first.click()
        page.locator("#stop").wait_for(state="hidden")
    page.wait_for_timeout(200)


def main() -> None:
    """Serve, look, draw."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=str, required=True, help="a bundle")
    parser.add_argument("--text", type=str, required=True, help="what is predicted")
    parser.add_argument("--prior", type=dict[str, float], required=True, help="a slider's place by topic, 1 its end")
    parser.add_argument("--all", type=Path | None, default=None, help="a folder for four pictures")
    given = parser.parse_args()
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    port = free_port()
    program = str(Path(sys.executable).with_name("unskew"))
    with (
        subprocess.Popen([program, "serve", "--model", given.model, "--port", str(port), "--device", "cpu"]) as server,
        sync_playwright() as driver,
    ):
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        try:
            wait_for(port)
            page = opened(browser, f"http://127.0.0.1:{port}/", DESKTOP, "light")
            asked(page, given.text, given.prior)
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=PICTURE)
            for size, scheme in [(size, scheme) for size in (DESKTOP, PHONE) for scheme in ("light", "dark")]:
                if given.all is not None:
                    page = opened(browser, f"http://127.0.0.1:{port}/", size, scheme)
                    asked(page, given.text, given.prior)
                    name = f"{'phone' if size == PHONE else 'desktop'}-{scheme}.png"
                    page.screenshot(path=given.all / name, full_page=True)
        finally:
            browser.close()
            server.terminate()


if __name__ == "__main__":
    main()
