"""What several lessons need."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "base": (
            "CodeExercise duration FULL in_turn later NO_RACES reality Run shown_by together "
            "Tried tried version_with"
        ),
        "shown": "Listing patch_diff report source Table table",
    },
)
