"""The page in a real browser: silent console, no request to anywhere, nothing out of sight."""

import pytest

from alerts.console.worklist import PageFacts, render
from tests.fixtures_alerts import NIGHT, Hands, invented_rows
from tests.fixtures_browser import CHROMIUM, browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

WIDTHS = (1600, 1280, 1150, 1000, 700, 390)
#: Names a screen reader cannot find, ids used twice, headings that leave a level out.
FAULTS = """
(() => {
  const faults = [], ids = new Set();
  for (const e of document.querySelectorAll('[id]')) {
    if (ids.has(e.id)) faults.push('id ' + e.id);
    ids.add(e.id);
  }
  for (const e of document.querySelectorAll('th'))
    if (!e.scope) faults.push('th without scope ' + e.textContent);
  for (const e of document.querySelectorAll('svg'))
    if (!e.hasAttribute('aria-label') && e.getAttribute('aria-hidden') !== 'true')
      faults.push('svg without name');
  for (const e of document.querySelectorAll('a[href^="#"]'))
    if (!document.querySelector(e.getAttribute('href'))) faults.push('no target ' + e.getAttribute('href'));
  if (document.querySelectorAll('h1').length !== 1) faults.push('h1');
  if (document.querySelectorAll('main').length !== 1) faults.push('main');
  if (document.documentElement.lang !== 'en') faults.push('lang');
  if (document.querySelector('script')) faults.push('script');
  return faults;
})()
"""
#: Contrast of every text against the first opaque background behind it (WCAG 2 AA: 4.5).
PALE = """
(() => {
  const rgb = c => c.match(/[\\d.]+/g).map(Number);
  const linear = v => v <= 10.3 ? v / 255 / 12.92 : ((v / 255 + .055) / 1.055) ** 2.4;
  const light = c => .2126 * linear(c[0]) + .7152 * linear(c[1]) + .0722 * linear(c[2]);
  const behind = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
    if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
  const pale = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let seen = 0;
  while (walk.nextNode()) {
    if (!walk.currentNode.textContent.trim()) continue;
    seen += 1;
    const e = walk.currentNode.parentElement;
    const [a, b] = [light(rgb(getComputedStyle(e).color).slice(0, 3)), light(behind(e))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) pale.push(e.className + ' ' + ratio.toFixed(2));
  }
  return [seen, [...new Set(pale)]];
})()
"""
#: Texts and charts that overlap or leave the cell they stand in.
SPILLED = """
(() => {
  const spilled = [];
  for (const e of document.querySelectorAll('.metric, .c-why > *, .tag, .c-patient, .c-risk')) {
    const cell = e.closest('td, th').getBoundingClientRect(), box = e.getBoundingClientRect();
    const isCut = e.clientWidth && e.scrollWidth > e.clientWidth + 1;
    if (box.width && (box.right > cell.right + 1 || box.bottom > cell.bottom + 1 || isCut))
      spilled.push(e.className + ': ' + e.textContent.trim().slice(0, 40));
  }
  return spilled;
})()
"""


def page(folder, rows=None):
    html = render(rows or invented_rows(), facts=PageFacts(NIGHT, Hands()(), "demo"), is_synthetic=True)
    path = folder / "worklist.html"
    path.write_text(html, encoding="utf-8")
    return path.as_uri()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


def test_the_page_is_silent_and_asks_nobody(chromium, tmp_path):
    url = page(tmp_path)
    chromium.open(url, 1400)
    assert chromium.complaints() == []
    assert chromium.requests()[0] == url
    assert [asked for asked in chromium.requests()[1:] if not asked.startswith("data:")] == []
    assert chromium.evaluate("document.querySelectorAll('svg.spark').length") == 3 * len(invented_rows())
    assert "SYNTHETIC" in chromium.evaluate("document.body.innerText")


def test_the_browser_test_can_see_a_request_and_a_complaint(chromium, tmp_path):
    """The policy of the page blocks what a planted name could load; the test above would see it."""
    url = page(tmp_path)
    path = tmp_path / "worklist.html"
    path.write_text(path.read_text().replace("<main>", '<main><img src="http://127.0.0.1:9/x.png" alt="">'))
    chromium.open(url, 1400)
    assert any("Content Security Policy" in str(entry) for entry in chromium.complaints())
    path.write_text(path.read_text().replace("http-equiv", "data-was"))
    chromium.open(url, 1400)
    assert "http://127.0.0.1:9/x.png" in chromium.requests()


def test_it_can_be_read_and_heard(chromium, tmp_path):
    chromium.open(page(tmp_path), 1400)
    assert chromium.evaluate(FAULTS) == []
    seen, pale = chromium.evaluate(PALE)
    assert seen > 200
    assert pale == []


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_is_out_of_sight(chromium, tmp_path, width):
    chromium.open(page(tmp_path), width)
    assert chromium.evaluate("document.documentElement.scrollWidth") <= width
    assert chromium.evaluate(SPILLED) == []


def test_the_last_days_open_without_script(chromium, tmp_path):
    chromium.open(page(tmp_path), 1280)
    before = chromium.evaluate("document.documentElement.scrollHeight")
    chromium.evaluate("document.querySelector('summary').click()")
    assert chromium.evaluate("document.documentElement.scrollHeight") > before
    assert chromium.evaluate("document.querySelectorAll('details[open] tbody tr').length") == 7
    assert chromium.evaluate(SPILLED) == []
