"""Generators of published architecture families: code -> weight-free network."""

from autogo_onnx.segment_db.families import (
    darts,
    fbnet,
    hiaml,
    inception,
    mbconv,
    nasbench101,
    nasbench201,
    nasbench_macro,
    ofa_mobilenetv3,
    published,
    transnasbench101,
    twopath,
)
from autogo_onnx.segment_db.families.family import Family

FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        nasbench101.FAMILY,
        nasbench201.FAMILY,
        nasbench_macro.FAMILY,
        transnasbench101.FAMILY_MACRO,
        transnasbench101.FAMILY_MICRO,
        hiaml.FAMILY,
        twopath.FAMILY,
        inception.FAMILY,
        darts.FAMILY,
        darts.NASBENCH301_FAMILY,
        fbnet.FAMILY,
        mbconv.FAMILY,
        ofa_mobilenetv3.FAMILY,
        published.FAMILY,
    )
}
