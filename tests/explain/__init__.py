"""Tests of the room that explains what machines said."""
