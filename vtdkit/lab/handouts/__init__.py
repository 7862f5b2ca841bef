"""Handouts: every notebook as a page that moves with no kernel and no network, and as screens for a beamer.

    vtdkit handouts --out handouts notebooks/*.ipynb            # make handouts
    vtdkit handouts --out handouts --slides notebooks/*.ipynb   # make slides

A notebook is run once from top to bottom. `student/` leaves out the solutions, `solutions/` has them folded,
`slides/` is the student edition opened as a walkthrough: one step per screen, large type, arrow keys. Each
folder stands alone: copy it, open `index.html` from disk.

Widgets move because their state is saved in the page and their own JavaScript comes with it; what needs
Python to answer shows its first picture. require.js and the widget manager are fetched from npm when the
folder is built (`vendor.py`), checked against the sums written down there, and copied into it. The browser
part of anywidget comes with the installed package. Formulas stay as they are written: no lesson has one.

Slides are the walkthrough and not reveal.js, on purpose: reveal takes the arrow keys away from a widget that
has the focus and scales the page by a transform, which moves the pointer away from what it points at; and it
is two more megabytes in each folder.

| file | idea |
|---|---|
| `execute.py` | run a notebook, with a time limit and one reported second try |
| `tidy.py` | what a run leaves behind that is not the lesson: paths in tracebacks, models of widgets |
| `editions.py` | which cells an edition has, where its links lead |
| `page.py`, `templates/`, `static/` | one page; `walk.js` is the walkthrough |
| `vendor.py` | the JavaScript of others |
| `build.py`, `commandline.py` | a whole folder; the verb |
"""
