"""Experiments that a lesson shows and that claims of the thread rest on. Each returns a record.

`addresses.py` who gives out DMA addresses, and how fast; `backend_matrix.py` what Intel, AMD and Arm make of
the same call; `dirty.py` who waits while dirty pages are looked for; `loading.py` how long it takes to map a
guest's memory; `readers.py` what it costs to read tables while others free them.
"""
