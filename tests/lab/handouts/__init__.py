"""Handouts: editions, what is left out, what is fetched, and pages that move when opened from disk."""
