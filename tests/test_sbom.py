"""The bill of materials names what a device runs, each package with its version."""

import json
import re
import subprocess
import tomllib
from importlib.metadata import distributions
from pathlib import Path

from tests.fleets import ROOT

_PLAIN = ROOT / ".venv-demo"


def _name(requirement: str) -> str:
    return re.split(r"[ <>=;\[]", requirement)[0].lower().replace("_", "-")


def test_every_package_of_the_device_is_named_with_its_version(tmp_path: Path) -> None:
    made = []
    for name in ("first.json", "second.json"):
        out = tmp_path / name
        script = [str(ROOT / "scripts" / "sbom"), str(out), str(_PLAIN / "bin" / "python")]
        done = subprocess.run(script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        made.append(out.read_bytes())
    assert made[0] == made[1]
    bill = json.loads(made[0])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    about = bill["metadata"]["component"]
    assert about["name"] == "earshot"
    assert about["licenses"][0]["license"]["id"] == "Apache-2.0"
    named = {_name(one["name"]): one for one in bill["components"]}
    wanted = {*project["dependencies"], *project["optional-dependencies"]["ota"]}
    assert {_name(one) for one in wanted if "python_version" not in one} <= set(named)
    there = next(_PLAIN.glob("lib/python3*/site-packages"))
    versions = {
        _name(one.metadata["Name"]): one.version for one in distributions(path=[str(there)])
    }
    assert {name: one["version"] for name, one in named.items()} == {
        name: version for name, version in versions.items() if name in named
    }
    assert set(versions) - set(named) <= {"earshot", "pip", "setuptools"}
