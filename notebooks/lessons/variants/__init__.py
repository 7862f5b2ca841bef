"""Drivers that never were: one thing changed in a real version, to see what depends on it.

Each function takes a version of the driver and returns a class derived from it, in which what the name says
is changed and nothing else. By theme: `tables.py` entries and tables, `readers.py` those who read meanwhile,
`backends.py` tables of other makers, `users.py` who may be in a table at once.
"""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "backends": "FreeWhenEmpty",
        "dirty": "FirstReplica compare_dirty write_back_dirty",
        "readers": "all_ones ask_memory_map concurrent_traversal free_after_grace_period read_under_rcu "
        "require_capability rwsem test_addresses",
        "tables": "flush_before_free load_store_dirty load_store_insert",
        "users": "domain_locked free_touched_tables",
    },
)
