"""`make book`: all lessons and the glossary as one book, from the pages that `make handouts` built.

    python notebooks/site/book.py handouts/student handouts/book

Writes `book.html` (it needs `vendor/` beside it, which is copied) and `book.pdf`, printed by chromium: a page
of contents with page numbers, each lesson on a new page, a number on every page, bookmarks. Links from lesson
to lesson lead to their place in the book. What a page folds away under a guess, paper has at the end of the
lesson. Needs playwright and a chromium; raises SystemExit with a sentence without.
"""

from __future__ import annotations

import html
import re
import shutil
import sys
from pathlib import Path
from typing import Any

STATE = re.compile(r'<script type="application/vnd\.jupyter\.widget-state\+json">.*?</script>', re.S)
TRIES = 6
FOLDED = re.compile(r"<details><summary>Reveal</summary>(.*?)</details>", re.S)
WIDE = 688  # pixels between the margins of A4: widgets are drawn for the width they have when it is printed
STYLE = """<style>
  section.part, .contents { break-before: page; }
  .contents { font: 1.05rem/1.9 system-ui, sans-serif; padding: 2rem 0; }
  .contents li { display: flex; justify-content: space-between; border-bottom: 1px dotted #888; }
  .answers { font: 0.9rem/1.5 system-ui, sans-serif; padding: 0 0.5rem; }
  .answers li { break-inside: avoid; }
  .walk-button { display: none; }
</style>"""
FOOT = '<div style="font:9px sans-serif;width:100%;text-align:center"><span class="pageNumber"></span></div>'


def parts(folder: Path) -> list[tuple[str, str, str]]:
    """(name, title, page) of each lesson, in order, then of the glossary."""
    pages = [*sorted(folder.glob("[0-9]*.html")), folder / "glossary.html"]
    found = []
    for path in pages:
        if path.is_file():
            text = path.read_text(encoding="utf-8")
            title = re.search(r"<title>(.*?)</title>", text, re.S)
            found.append((path.stem, html.unescape(title[1]) if title else path.stem, text))
    if not found:
        raise SystemExit(f"{folder} has no pages; make handouts first")
    return found


def bound(folder: Path) -> str:
    """All pages as one: the head of the first, then contents and parts."""
    found = parts(folder)
    names = {name for name, _, _ in found}

    def inner(match: re.Match[str]) -> str:
        return f'href="#{match[1]}"' if match[1] in names else match[0]

    def unfolded(content: str) -> str:
        answers: list[str] = []

        def moved(match: re.Match[str]) -> str:
            answers.append(f"<li>{match[1]}</li>")
            return f"<div>The answer: number {len(answers)} at the end of this lesson.</div>"

        content = FOLDED.sub(moved, content)
        listed = f'<div class="answers"><h2>What you could guess</h2><ol>{"".join(answers)}</ol></div>'
        return content + listed if answers else content

    lines = "".join(
        f'<li><a href="#{n}">{html.escape(t)}</a><span data-part="{n}"></span></li>' for n, t, _ in found
    )
    body = [f'<div class="contents"><h1>Contents</h1><ol>{lines}</ol></div>']
    for name, _, text in found:
        main = re.search(r"<main>(.*)</main>", text, re.S)
        content = re.sub(r'href="([\w-]+)\.html(?:#[^"]*)?"', inner, main[1] if main else "")
        body.append(f'<section class="part" id="{name}">{unfolded(content)}</section>')
        body += [state for state in STATE.findall(text) if state not in content]
    head = found[0][2].partition("<main>")[0]
    head = re.sub(r"<title>.*?</title>", "<title>vtdkit: the lessons</title>", head, flags=re.S)
    return f"{head.replace('</head>', STYLE + '</head>')}<main>{''.join(body)}</main></body></html>"


def printed(page: Any, **options: Any) -> bytes:
    """The page as PDF, A4."""
    margin = {"top": "15mm", "bottom": "15mm", "left": "14mm", "right": "14mm"}
    paper: bytes = page.pdf(format="A4", print_background=True, margin=margin, **options)
    return paper


def count(paper: bytes) -> int:
    """How many pages a PDF has."""
    return len(re.findall(rb"/Type\s*/Page\b", paper))


def starts(paper: bytes, names: list[str]) -> list[int]:
    """On which page of a PDF that chromium wrote each part begins: where links to it lead."""
    pages = re.findall(rb"(\d+) 0 obj\s*<<\s*/Type\s*/Page\b", paper)
    found = (re.search(rb"/%b \[(\d+) 0 R" % name.encode(), paper) for name in names)
    return [pages.index(place[1]) + 1 if place else 0 for place in found]


def numbered(page: Any, names: list[str]) -> bytes:
    """The book as PDF, with the page on which each part begins in its contents. Widgets draw themselves anew
    at the width of the paper, so it is printed until all pages stay where they are.
    """
    options = {"display_header_footer": True, "header_template": "<div></div>", "footer_template": FOOT}
    fill = "([name, start]) => { document.querySelector(`[data-part='${name}']`).textContent = start; }"
    told: list[int] = []
    for _ in range(TRIES):
        paper = printed(page, tagged=True, outline=True, **options)
        found = starts(paper, names)
        if found == told:
            return paper
        for each in zip(names, found, strict=True):
            page.evaluate(fill, each)
        told = found
    raise SystemExit(f"the pages of the book are others each time ({TRIES} times)")


def main(folder: Path, out: Path) -> None:
    """Build both files."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        raise SystemExit("playwright is not installed; pip install -e '.[browser]'") from None
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        raise SystemExit("there is no chromium here (Debian: apt-get install chromium)")
    out.mkdir(parents=True, exist_ok=True)
    shutil.copytree(folder / "vendor", out / "vendor", dirs_exist_ok=True)
    (out / "book.html").write_text(bound(folder), encoding="utf-8", newline="\n")
    names = [name for name, _, _ in parts(folder)]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": WIDE, "height": 900})
        page.set_default_timeout(120_000)
        page.goto((out / "book.html").absolute().as_uri())
        widgets = "[...document.querySelectorAll('.jp-OutputArea-output.jupyter-widgets')]"
        page.wait_for_function(f"() => {widgets}.every((each) => each.querySelector('.lm-Widget > *'))")
        page.emulate_media(media="print")
        paper = numbered(page, names)
        (out / "book.html").write_text(
            re.sub(
                r'<span data-part="([^"]+)"></span>',
                lambda match: page.locator(f"[data-part='{match[1]}']").evaluate("node => node.outerHTML"),
                (out / "book.html").read_text(encoding="utf-8"),
            ),
            encoding="utf-8",
            newline="\n",
        )
        browser.close()
    (out / "book.pdf").write_bytes(paper)
    print(f"{out / 'book.pdf'}: {len(names)} parts, {count(paper)} pages, {len(paper) / 1e6:.1f} MB")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
