"""What the wheel holds: every data file, the entry point, the version."""

from __future__ import annotations

import configparser
import importlib
import shutil
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np
import onnx
import pytest

import autogo_onnx
from autogo_onnx import demo

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "autogo_onnx"


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    return config


def data_files(package: Path = PACKAGE) -> list[Path]:
    return [
        path
        for path in sorted(package.rglob("*"))
        if path.is_file() and path.suffix not in {".py", ".pyc"} and "__pycache__" not in path.parts
    ]


def test_every_data_file_is_named_by_package_data(setup_cfg: configparser.ConfigParser) -> None:
    patterns = [
        (ROOT.joinpath(*package.split(".")), pattern.strip())
        for package, value in setup_cfg["options.package_data"].items()
        for pattern in value.split(",")
    ]
    shipped = {path for folder, pattern in patterns for path in folder.glob(pattern)}
    assert [path for path in data_files() if path not in shipped] == []


def test_every_folder_with_code_is_a_package() -> None:
    folders = {path.parent for path in PACKAGE.rglob("*.py")}
    assert [f for f in sorted(folders) if not (f / "__init__.py").is_file()] == []


def test_entry_point_and_version(setup_cfg: configparser.ConfigParser) -> None:
    name, _, target = setup_cfg["options.entry_points"]["console_scripts"].strip().partition(" = ")
    module, _, function = target.partition(":")
    assert name == "autogo-onnx"
    assert callable(getattr(importlib.import_module(module), function))
    assert setup_cfg["metadata"]["version"] == "attr: autogo_onnx.__version__"
    newest = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8").split("\n## ")[1]
    assert newest.startswith(autogo_onnx.__version__)


def test_the_demo_is_a_valid_model_with_samples_that_fit(tmp_path: Path) -> None:
    model, calibration, held_out = demo.copy_to(tmp_path / "new" / "folder")
    onnx.checker.check_model(str(model), full_check=True)
    with np.load(calibration) as samples:
        assert samples["image"].shape == (400, 1, 8, 8)
        assert samples["image"].dtype == np.float32
        assert samples["image"].min() >= 0
        assert samples["image"].max() <= 1
    assert demo.accuracy(model, held_out) == pytest.approx(0.99244, abs=1e-5)


def test_typed() -> None:
    assert (resources.files("autogo_onnx") / "py.typed").is_file()


@pytest.mark.slow
def test_the_wheel_holds_it_all(tmp_path: Path) -> None:
    # From a copy: a build leaves a folder behind whose old files would enter the next wheel.
    copy = tmp_path / "copy"
    leave_out = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, copy, ignore=leave_out)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "-w", str(tmp_path), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    package = copy / "autogo_onnx"
    files = (*data_files(package), *package.rglob("*.py"))
    assert {p.relative_to(copy).as_posix() for p in files} <= names
    assert {name.partition("/")[0] for name in names} == {
        "autogo_onnx",
        f"autogo_onnx-{autogo_onnx.__version__}.dist-info",
    }
