"""Rewrites of a graph: exact rules, run to a fixed point and verified, and segment replacement."""

from autogo_onnx.rewriters.rewriting import Rewritten, rewrite
from autogo_onnx.rewriters.rule import Match, Rule, Safety, Skip
from autogo_onnx.rewriters.rules import RULES

__all__ = ["RULES", "Match", "Rewritten", "Rule", "Safety", "Skip", "rewrite"]
