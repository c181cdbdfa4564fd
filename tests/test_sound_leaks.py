"""The detector of sound in bytes: it finds what was planted, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.sound_leaks import LEAST_RUN, random_sound

SOUND = random_sound(1.0)
SAMPLES = np.frombuffer(SOUND.pcm, "<i2")
FILL = np.random.default_rng(2).bytes(5000)


@given(
    st.sampled_from(["<i2", "<f4"]),
    st.integers(0, 48_000 - 60),
    st.integers(LEAST_RUN, 60),
    st.integers(0, 4900),
)
def test_eight_samples_in_a_row_are_found_wherever_they_stand(
    form: str, first: int, count: int, at: int
) -> None:
    run = SAMPLES[first : first + count]
    planted = (run if form == "<i2" else (run / 32768).astype(form)).tobytes()
    data = FILL[:at] + planted + FILL[at:]
    assert SOUND.longest_run(data) >= count
    assert SOUND.leaks_into(data)


def test_the_end_of_the_sound_and_of_the_data_is_found() -> None:
    assert SOUND.longest_run(FILL + SOUND.pcm[-16:]) == 8
    assert SOUND.longest_run(SOUND.pcm[-16:]) == 8
    assert SOUND.longest_run(SOUND.pcm) > 100


@pytest.mark.parametrize("data", [b"", b"1234567", FILL, SOUND.pcm[100:114] + FILL])
def test_noise_and_seven_samples_are_no_leak(data: bytes) -> None:
    assert not SOUND.leaks_into(data)


def test_another_sound_is_not_this_one() -> None:
    assert SOUND.longest_run(random_sound(5.0, seed=3).pcm) < LEAST_RUN
