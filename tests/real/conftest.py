"""The sound server that a module's tests share."""

from collections.abc import Iterator

import pytest

from tests.real.sound import serving


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with serving(tmp_path_factory.mktemp("pulse")):
        yield
