"""Exercises that check themselves, and questions to answer before a run."""

from __future__ import annotations

from vtdkit.face import face

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "exercise": "Exercise Hint Said",
        "judge": "CodeExercise version_with",
        "prediction": "predict Prediction",
        "watched": "Scene",
    },
)
