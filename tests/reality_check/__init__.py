"""The model against what real machines did: `vtdkit check`.

`check` goes through a folder of `tests/reality` and prints its line of counts; `oracle` reads what QEMU and
Linux said about it, as typed records; `compare` and `replay_queue` hold the model to that, one function for
each kind of statement; `tally` counts; `stale` says of stale translations what only the record knows.
"""
