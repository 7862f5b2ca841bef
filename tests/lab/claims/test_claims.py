"""The catalogue of claims: whole, in order; a claim without an experiment says why; the verb."""

from __future__ import annotations

import pytest

from lessons.claims.catalogue import claims
from lessons.claims.claim import Claim, Measured
from lessons.claims.report import main, text


def test_a_claim_has_an_experiment_with_its_counter_or_says_why_not():
    ran = Measured(True, "0 of 4")
    for wrong in ({}, {"experiment": lambda: ran}, {"experiment": lambda: ran, "why": "both"}):
        with pytest.raises(ValueError, match="claim 1 needs"):
            Claim(1, "somebody, 1 June", "said", "13", **wrong)


def test_words():
    assert Measured(True, "").word == "holds"
    assert Measured(True, "", complete=False).word == "not seen to fail"
    assert Measured(False, "", complete=False).word == "does not hold"


def test_text_of_a_verdict_shows_both_ways():
    claim = Claim(
        7,
        "somebody, 1 June",
        "all is well",
        "13",
        lambda: Measured(True, "0 of 4"),
        lambda: Measured(False, "2 of 4"),
    )
    assert text(claim.verdict()).splitlines() == [
        "  7  somebody, 1 June: all is well",
        "     holds: 0 of 4 [lesson 13]",
        "     the other way: does not hold: 2 of 4",
    ]


def test_an_opinion_says_what_was_measured_beside_it():
    claim = Claim(8, "x", "y", "13", why="a wish", opinion=True, beside=lambda: Measured(True, "3 of 4"))
    assert (claim.verdict().word, claim.verdict().evidence) == ("opinion", "a wish; measured: 3 of 4")


def test_a_number_that_is_none(capsys):
    with pytest.raises(KeyError, match="no claim 70"):
        claims([70])
    assert main(["70"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
