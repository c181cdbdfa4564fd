"""Who runs beside whom, where several processes share the tests."""

from pathlib import Path

from tests import neighbours

TESTS = Path(__file__).parent


def test_every_module_that_is_named_is_there() -> None:
    real = {path.stem for path in TESTS.glob("real/test_*.py")}
    assert real >= neighbours.PATIENT
    known = {neighbours.REAL, *neighbours.PATIENT, *(path.stem for path in TESTS.glob("test_*.py"))}
    assert known >= set(neighbours.LONGEST)


def test_what_keeps_time_is_one_group_and_every_other_module_another() -> None:
    group = neighbours.group
    assert group("tests/real/test_capture.py::test_a") == group("tests/real/test_run.py::test_b[1]")
    assert group("tests/real/test_newcomer.py::test_a") == "test_newcomer"
    assert group("tests/test_capture.py::test_a") != group("tests/real/test_capture.py::test_a")


def test_a_single_module_is_tested_by_this_process() -> None:
    assert neighbours.workers(["tests/test_a.py", "tests/test_a.py::test_b"]) == 0
    assert neighbours.workers(["tests/test_a.py", "tests/test_b.py"]) > 1
    assert neighbours.workers(["tests"]) > 1
