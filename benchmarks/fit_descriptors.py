"""Measure mean and spread of the descriptors over real music: writes src/soundkin/encoders/descriptors.csv.

Usage: python benchmarks/fit_descriptors.py FOLDER
"""

import argparse
from pathlib import Path

import numpy as np

from soundkin.audio import DEFAULT_LISTENING, hear, is_audio_name
from soundkin.encoders.descriptors import describe
from soundkin.errors import DecodeError


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    pooled = []
    for path in sorted(parser.parse_args().folder.rglob("*")):
        if not (path.is_file() and is_audio_name(path.name)):
            continue
        try:
            with hear(path, DEFAULT_LISTENING) as hearing:
                vectors = np.stack([describe(e).features for e in hearing.excerpts])
        except (DecodeError, ValueError) as error:
            print(f"skipped {path.name}: {error}")
            continue
        pooled.append(np.concatenate([vectors.mean(axis=0), vectors.std(axis=0)]))
    table = np.stack(pooled)
    # The spread has a floor: a feature that never varied on this music must not explode on other music.
    spread = np.maximum(table.std(axis=0), 1e-3)
    out = Path(__file__).parents[1] / "src/soundkin/encoders/descriptors.csv"
    np.savetxt(out, np.stack([table.mean(axis=0), spread], axis=1), fmt="%.6g", delimiter=",")
    print(f"{len(table)} tracks, {table.shape[1]} features -> {out}")


if __name__ == "__main__":
    main()
