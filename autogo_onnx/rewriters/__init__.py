"""Rewrites of a graph: exact rules, run to a fixed point and verified, and segment replacement."""

from autogo_onnx.rewriters.rewriting import Applied, Rewritten, rewrite
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.rules import RULES
from autogo_onnx.rewriters.trial import Judge, Verdict

__all__ = [
    "RULES",
    "Applied",
    "Judge",
    "Match",
    "Rewritten",
    "Rule",
    "Safety",
    "Skip",
    "Verdict",
    "rewrite",
]
