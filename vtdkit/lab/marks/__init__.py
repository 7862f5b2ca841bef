"""Marks of a class: forty notebooks in, one table out.

    vtdkit seeds CLASS.csv                                 # a number for each student, written into the table
    vtdkit seeds CLASS.csv --copy 07-*.ipynb --to class    # and each student's own copy of a lesson
    vtdkit collect class/*/*.ipynb --students CLASS.csv --out marks.csv

Each notebook is judged in a process of its own (`grade.py`), which runs the cells of the exercises and no
others, with limits on time and memory, in a folder that is thrown away, and refuses connections, programs and
writing elsewhere. That keeps honest mistakes from harming the others. It is **no jail for hostile code**:
who does not trust a class runs this in a container.

`marks.csv` has a row for each student and exercise: `right`, `wrong` with what was said, `missing`,
`timed out`, or `broken` where a notebook cannot be read; `missing` also for those of the class who handed in
nothing. Called again, files that have not changed are not judged again. The judges are those of this copy of
vtdkit, whatever a student's copy had.

| file | idea |
|---|---|
| `collect.py` | many notebooks, side by side; the table, the summary; the verb `collect` |
| `grade.py` | one notebook; the program that `collect` starts |
| `seeds.py` | a number for each student; the verb `seeds` |
"""
