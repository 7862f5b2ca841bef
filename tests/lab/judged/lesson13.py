"""Lesson 13."""

RIGHT = {"PUT_IT_IN": {}}
