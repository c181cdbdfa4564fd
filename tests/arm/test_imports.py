"""Every module of the device can be imported from what was installed."""

import importlib
import os
import pkgutil
import platform
from pathlib import Path

import pytest

import edge_agent
from tests.conftest import ROOT

pytestmark = pytest.mark.arm


def test_every_module_of_the_device_can_be_imported() -> None:
    names = [
        module.name
        for module in pkgutil.walk_packages(edge_agent.__path__, "edge_agent.")
        if not module.name.endswith("__main__")
    ]
    assert len(names) > 50
    for name in names:
        importlib.import_module(name)


if "EARSHOT_EMULATED" in os.environ:

    def test_it_is_the_installed_package_on_the_pis_instruction_set() -> None:
        assert platform.machine() == "aarch64"
        assert not Path(edge_agent.__file__).is_relative_to(ROOT)
