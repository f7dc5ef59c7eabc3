"""A demo music library made by code, with known tempo, key, timbre and style.

`styles` is the data (to add a style, add an entry), `catalogue` plans which tracks exist and writes them as
tagged files, `performance` composes and mixes a track, `instruments` makes its notes, `signals` makes plain
test signals.
"""

from soundkin.synth.catalogue import plan, write_library
from soundkin.synth.performance import SynthTrack, render
from soundkin.synth.signals import clicks, noise, tone
from soundkin.synth.styles import STYLES, Drum, Part, Style, Voice

__all__ = [
    "STYLES",
    "Drum",
    "Part",
    "Style",
    "SynthTrack",
    "Voice",
    "clicks",
    "noise",
    "plan",
    "render",
    "tone",
    "write_library",
]
