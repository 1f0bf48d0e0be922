"""Generators of published architecture families: code -> weight-free network."""

from autogo_onnx.segment_db.families import nasbench201, nasbench_macro
from autogo_onnx.segment_db.families.family import Family

FAMILIES: dict[str, Family] = {
    family.name: family for family in (nasbench201.FAMILY, nasbench_macro.FAMILY)
}
