"""Changes of reference solutions that are right all the same, lesson by lesson: why a judge accepts them.

`RIGHT[name of the exercise's constant][what was changed, as `mutants` says it]` is the reason.
"""
