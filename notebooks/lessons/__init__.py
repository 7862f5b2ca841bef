"""What the notebooks call: one module a lesson (experiments and exercises), `base` and `shown`
for what several need.
"""
