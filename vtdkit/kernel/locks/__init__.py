"""Locks of every kind, RCU, and waiting without a lock."""

from __future__ import annotations
