"""One note or one drum stroke, computed whole by array operations, to be kept and mixed many times."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from soundkin.synth.signals import Audio, level
from soundkin.synth.styles import SHAPES, Drum, Voice

# 16,384 points, read without interpolation: against a sum of 96 sines, the error is 55 dB below a saw
_TABLE_BITS = 14


def make_note(voice: Voice, midi: int, gate: int, rate: int, sound: int) -> Audio:
    """Play one note: float32 (gate + release,), peak about 1.

    Parameters
    ----------
    voice : Voice
        Who plays it.
    midi : int
        Pitch.
    gate : int
        Length in samples before the release.
    rate : int
        Hz.
    sound : int
        The artist's number.
    """
    n, freq = gate + round(voice.release * rate), 440 * 2 ** ((midi - 69) / 12)
    t = np.arange(n, dtype=np.float32) / np.float32(rate)
    rng = np.random.default_rng((sound, 7, midi))
    if voice.kind == "pluck":
        out = _pluck(voice, freq, n, rate, rng)
    elif voice.kind == "fm":
        out = _fm(voice, freq, t)
    elif voice.kind == "noise":
        out = band(rng.uniform(-1, 1, n), 0.5 * voice.cutoff, voice.cutoff, rate)
    else:
        out = _wave(voice, freq, t, rate)
    if voice.breath > 0:
        out += voice.breath * band(rng.uniform(-1, 1, n), freq, 6 * freq, rate)
    envelope = np.minimum(t / np.float32(voice.attack), 1)
    if voice.kind != "pluck":
        envelope *= voice.sustain + (1 - voice.sustain) * np.exp(-t / np.float32(voice.decay))
    envelope[gate:] *= np.linspace(1, 0, n - gate, dtype=np.float32)
    out *= envelope
    return out


def _wave(voice: Voice, freq: float, t: Audio, rate: int) -> Audio:
    """Read a bright and a dark wavetable and cross from one to the other: a low-pass that closes."""
    k = np.arange(1, min(96, int(0.45 * rate / freq)) + 1, dtype=np.float32)
    spectrum = np.zeros((2, 2 ** (_TABLE_BITS - 1) + 1), np.complex64)
    for row, cutoff in zip(spectrum, (voice.cutoff, voice.cutoff * voice.close), strict=True):
        # second-order low-pass, never below the fundamental; -1j makes the partials sines
        row[1 : len(k) + 1] = -1j * SHAPES[voice.shape](k) / (1 + (k * freq / max(cutoff, freq)) ** 2)
    bright, dark = level(np.fft.irfft(spectrum).astype(np.float32), 1.0)
    wobble = (2 ** (voice.vibrato / 1200) - 1) * freq / (2 * np.pi * 5.5)  # in cycles
    bend = (wobble * 2**32 * np.sin(2 * np.pi * 5.5 * t)).astype(np.int64).astype(np.uint32)
    sweep = np.exp(-t / np.float32(voice.decay))
    out = np.zeros(len(t), np.float32)
    copies = (-voice.detune, 0.0, voice.detune) if voice.detune > 0 else (0.0,)
    for place, cents in enumerate(copies):
        # phase in 32-bit integers that wrap round once a cycle, the copies a third of a cycle apart
        stride = np.uint32(round(freq * 2 ** (cents / 1200) / rate * 2**32))
        phase = np.arange(len(t), dtype=np.uint32) * stride + bend + np.uint32(place * (2**32 // 3))
        index = phase >> np.uint32(32 - _TABLE_BITS)
        out += dark[index] if voice.close == 1 else dark[index] + sweep * (bright - dark)[index]
    out /= np.float32(len(copies))
    return out


def _pluck(voice: Voice, freq: float, n: int, rate: int, rng: np.random.Generator) -> Audio:
    """Karplus-Strong string (Computer Music Journal 7(2), 1983), solved instead of iterated.

    The averaging loop multiplies harmonic k by cos(pi k freq / rate) once a period, so the spectrum of every
    period is known in advance; the rows are the periods. The loop always runs at 44,100.
    """
    k = np.arange(1, min(60, int(0.45 * min(rate, 44100) / freq)) + 1)
    period = np.arange(math.ceil(n * freq / rate) + 2)[:, None]
    damping = np.log(np.cos(np.pi * k * freq / 44100)) - math.log(1000) / (voice.decay * freq)
    pick = np.exp(2j * np.pi * rng.random(len(k))) / np.sqrt(k) / (1 + (k * freq / voice.cutoff) ** 2)
    spectrum = np.zeros((len(period), 65), np.complex64)
    spectrum[:, 1 : len(k) + 1] = pick * np.exp(period * damping)
    string = np.fft.irfft(spectrum).astype(np.float32).ravel()
    out = np.interp(np.arange(n) * (freq / rate * 128), np.arange(len(string)), string)
    return level(out.astype(np.float32), 1.0)


def _fm(voice: Voice, freq: float, t: Audio) -> Audio:
    """Two-operator FM with a decaying index (Chowning, JAES 21(7), 1973): electric pianos and bells."""
    cycle = np.float32(2 * np.pi * freq) * t
    index = np.float32(voice.index) * np.exp(-t / np.float32(0.6 * voice.decay))
    out: Audio = np.sin(cycle + index * np.sin(np.float32(voice.ratio) * cycle))
    return out


def tuned(drum: Drum, tonic: int) -> Drum:
    """Move a low drum to the nearest tonic, as producers do: a kick out of key hides the key."""
    if not 0 < drum.tone < 100:
        return drum
    midi = 69 + 12 * math.log2(drum.tone / 440)
    return replace(drum, tone=drum.tone * 2 ** (((tonic - midi + 6) % 12 - 6) / 12))


def make_hit(drum: Drum, rate: int, rng: np.random.Generator) -> Audio:
    """Play one stroke; `rng` tunes it, so give every stroke of an artist the same."""
    tuning, length = np.exp(rng.uniform(-0.15, 0.15)), np.exp(rng.uniform(-0.3, 0.3))
    t = np.arange(round(6 * length * max(drum.ring, drum.decay) * rate)) / rate
    # the sweep falls exponentially, with a time constant of 20 ms; this is the integral of the frequency
    phase = drum.tone * t + drum.sweep * tuning * 0.02 * (1 - np.exp(-t / 0.02))
    tonal = np.sin(2 * np.pi * phase) * np.exp(-t / (length * drum.ring)) * (0 < drum.tone < rate / 2)
    grains = rng.uniform(-1, 1, len(t) // drum.crush + 1)
    hiss = band(np.repeat(grains, drum.crush)[: len(t)], drum.low * tuning, drum.high * tuning, rate)
    out: Audio = (tonal + drum.hiss * hiss * np.exp(-t / (length * drum.decay))).astype(np.float32)
    return out


def band(samples: NDArray[np.float64], low: float, high: float, rate: int) -> Audio:
    """Keep a band of frequencies, with soft edges, at peak 1."""
    spectrum = np.fft.rfft(samples.astype(np.float32))
    f = np.fft.rfftfreq(len(samples), 1 / rate) + 1e-3
    gain = 1 / (1 + (low / f) ** 4) / (1 + (f / high) ** 4)
    return level(np.fft.irfft(spectrum * gain.astype(np.float32), len(samples)).astype(np.float32), 1.0)


def reverb(samples: Audio, room: float, rate: int, sound: int) -> Audio:
    """Convolve with exponentially decaying stereo noise (Moorer, Computer Music Journal 3(2), 1979)."""
    t = np.arange(round(room * rate), dtype=np.float32) / np.float32(rate)
    # -60 dB at the end: exp(-6.9)
    tail = np.random.default_rng((sound, 8)).standard_normal((2, len(t)), np.float32)
    tail *= np.exp(np.float32(-6.9 / room) * t)
    # air and walls swallow the treble: a running mean over three samples
    tail[:, 2:] = (tail[:, 2:] + tail[:, 1:-1] + tail[:, :-2]) / 3
    tail /= np.sqrt(np.sum(tail**2, axis=1, keepdims=True))
    size = -(-(len(samples) + len(t)) // 2**15) * 2**15  # few large prime factors: a fast transform
    product = np.fft.rfft(samples, size) * np.fft.rfft(tail, size)
    out: Audio = np.fft.irfft(product, size)[:, : len(samples)].astype(np.float32)
    return out
