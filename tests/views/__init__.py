"""Tests of vtdkit.views."""
