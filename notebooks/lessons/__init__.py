"""What the notebooks call: one module a lesson, with its exercises; what several lessons, or claims of the
thread, need is in `claims`, `experiments`, `scenes` and `variants`. `README.md` is a map.
"""
