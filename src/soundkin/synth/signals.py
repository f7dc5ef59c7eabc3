"""Plain signals whose every property is known, and the checks that all of `synth` shares."""

import math
import numbers

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import InputError

Audio = NDArray[np.float32]


def tone(freq: float, seconds: float, rate: int = 44100) -> Audio:
    """Make a sine of amplitude 0.5.

    Parameters
    ----------
    freq : float
        Hz, above 0 and at most half of `rate`.
    seconds : float
        Length, 0.1 to 3600.
    rate : int
        Samples a second, 8,000 to 192,000.

    Returns
    -------
    float32 (n,)
        ``round(seconds * rate)`` samples.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    n = checked_length(seconds, rate)
    if not 0 < freq <= rate / 2:
        raise InputError(f"freq is {freq}, wanted above 0 and at most half the rate ({rate / 2} Hz)")
    out: Audio = (0.5 * np.sin(2 * np.pi * freq / rate * np.arange(n))).astype(np.float32)
    return out


def noise(seconds: float, rate: int = 44100, seed: int = 0) -> Audio:
    """Make white noise, uniform in -0.5 to 0.5.

    Parameters
    ----------
    seconds : float
        Length, 0.1 to 3600.
    rate : int
        Samples a second, 8,000 to 192,000.
    seed : int
        Same seed, same noise.

    Returns
    -------
    float32 (n,)
        ``round(seconds * rate)`` samples.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    n = checked_length(seconds, rate)
    check_count("seed", seed)
    out: Audio = np.random.default_rng(seed).random(n, dtype=np.float32)
    out -= np.float32(0.5)
    return out


def clicks(bpm: float, seconds: float, rate: int = 44100) -> Audio:
    """Make a metronome: a tick of 10 ms on every beat, the first at 0.

    Parameters
    ----------
    bpm : float
        Beats a minute, 20 to 400.
    seconds : float
        Length, 0.1 to 3600.
    rate : int
        Samples a second, 8,000 to 192,000.

    Returns
    -------
    float32 (n,)
        ``round(seconds * rate)`` samples.

    Raises
    ------
    InputError
        If an argument is out of range.
    """
    n = checked_length(seconds, rate)
    check_bpm(bpm)
    t = np.arange(round(0.01 * rate)) / rate
    tick = (0.8 * np.cos(2 * np.pi * 1000 * t) * np.exp(-t / 0.002)).astype(np.float32)
    out = np.zeros(n, np.float32)
    for beat in range(math.ceil(seconds * bpm / 60)):
        add(out, round(beat * 60 / bpm * rate), tick)
    return out


def add(out: Audio, start: int, samples: Audio, gain: float = 1.0) -> None:
    """Add `samples`, times `gain`, into `out` from `start` on; what falls beyond the end is lost."""
    room = out[start : start + len(samples)]
    room += np.float32(gain) * samples[: len(room)]


def level(samples: Audio, peak: float) -> Audio:
    """Scale to a peak; silence stays silence."""
    highest = float(np.max(np.abs(samples), initial=0))
    if highest > 0:
        samples = samples * np.float32(peak / highest)
    return samples


def checked_length(seconds: float, rate: int) -> int:
    """Return the number of samples in `seconds`, or raise InputError."""
    if not isinstance(rate, numbers.Integral) or not 8000 <= rate <= 192000:
        raise InputError(f"rate is {rate}, wanted a whole number of samples a second, 8000 to 192000")
    if not 0.1 <= seconds <= 3600:  # NaN fails this too
        raise InputError(f"seconds is {seconds}, wanted 0.1 to 3600")
    return round(seconds * rate)


def check_bpm(bpm: float) -> None:
    """Raise InputError unless `bpm` is a tempo."""
    if not 20 <= bpm <= 400:
        raise InputError(f"bpm is {bpm}, wanted 20 to 400 beats a minute")


def check_count(name: str, value: int) -> None:
    """Raise InputError unless `value` is a whole number of 0 or more."""
    if not isinstance(value, numbers.Integral) or value < 0:
        raise InputError(f"{name} is {value}, wanted a whole number of 0 or more")
