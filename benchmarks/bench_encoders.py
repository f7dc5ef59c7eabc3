"""Every encoder side by side: speed on one core, memory, size of weights, and how well it finds soundtracks.

Speed: seconds of audio encoded in a CPU second of one thread, from PCM in memory, front end included, decoding not;
excerpts as the encoder hears best. Weights that are not in the cache are random ones in the published format and of the
published size, which cost the same. The sound is made up, or from MUSIC. Each encoder is measured in a process of its
own: its peak memory and the CPU seconds until it is ready (a second time, when what is exported once has been) stand
beside.

The engine that is chosen on a CPU, against PyTorch in float32: what it gains, and the least cosine of a window of the
one to the other. And what batches of other sizes would gain, across the excerpts of a track and of others.

PANNs' Cnn14, whole files: ours, against the way of the tutorials, librosa and the network as published in PyTorch,
float32, in the same run; and how far apart the vectors are.

Retrieval (with MUSIC): protocol and columns of `bench_encoder.py`, but track vectors as `soundkin index` makes them, of
all encoders whose weights are here, from one run that opens each file once, and of every two of them fused. `cnn` as it
ships was trained on the soundtracks that the model card lists: on these its figures, and those of what it is fused
with, are of music that it has heard. ``--unheard`` takes its place with encoders by `train_cnn.py --fold K --out
FOLDER`, one per fold, each of them asked about the fold that it has not heard.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from bench_encoder import SMALLEST, Scores, deal, ranking_scores, unit
from common import Array, Targets, audio_files, cpu_of, environment, table

from soundkin.audio import Excerpt, Listening, excerpts_of, hear
from soundkin.embed import Embedded, FileState, Task, embed_files
from soundkin.encoders import ENCODERS, Choice, Encoder, catalogue, onnx, torch_tools
from soundkin.encoders.torch_tools import TorchEncoder

ROOT = Path(__file__).parents[1]
BATCHES = (1, 2, 4, 8, 16)
FOLDS = 3
COLUMNS = ("P@10", "mAP", "5-NN", "skew")
# LAION's larger CLAP; wav2vec 2.0 base and MERT are what transformers makes when nothing is said.
CLAP_AUDIO = {"patch_embeds_hidden_size": 128, "depths": [2, 2, 12, 2], "hidden_size": 1024}


def made(name: str, folder: Path, **options: str) -> Encoder:
    """Load an encoder as it is installed but for `options`; with random weights where its own are not here."""
    info = ENCODERS[name]
    if catalogue.is_here(info):
        return info.load(Choice(name, "cpu", options))
    sys.path.insert(0, str(ROOT / "tests"))
    import published

    folder.mkdir(parents=True, exist_ok=True)
    chosen: dict[str, Any] = {"device": "cpu", "name": name, "engine": "auto", **options}
    if name == "musicnn":
        from soundkin.encoders.musicnn import MusiCNN

        return MusiCNN(published.musicnn_folder(folder), tags="MTT", **chosen)
    chosen = {"precision": "auto", **chosen}
    if name == "panns-cnn14":
        from soundkin.encoders.panns import Cnn14

        if not (path := folder / "cnn14.pth").exists():
            published.write_cnn14(path, published.cnn14_weights())
        return Cnn14(path, **chosen)
    if name == "openl3":
        from soundkin.encoders.openl3 import OpenL3

        return OpenL3(published.openl3_file(folder), **chosen)
    return _of_hub(name, folder / name, published, chosen)


def _of_hub(name: str, folder: Path, published: Any, chosen: dict[str, Any]) -> Encoder:
    import transformers

    from soundkin.encoders.clap import Clap
    from soundkin.encoders.hf import Mert, Wav2Vec2

    if name == "clap":
        if not folder.exists():
            config = transformers.ClapConfig(audio_config=CLAP_AUDIO)
            published.write_hub(folder, transformers.ClapModel(config).eval(), old=False)
        return Clap(folder, **chosen)
    if name == "mert-v1-95m":
        if not folder.exists():
            model = transformers.HubertModel(transformers.HubertConfig()).eval()
            published.write_hub(folder, model, **published.MERT_CARD)
        return Mert(folder, **chosen)
    if not folder.exists():
        model = transformers.Wav2Vec2ForPreTraining(transformers.Wav2Vec2Config()).eval()
        published.write_hub(folder, model)
    return Wav2Vec2(folder, **chosen)


def speed(name: str, folder: Path, seconds: float, repeats: int, music: Path | None) -> dict[str, Any]:
    """Measure one encoder in this process; then the same network in PyTorch, float32, and how far apart they are."""
    begin = time.process_time()
    encoder = made(name, folder)
    ready = time.process_time() - begin
    if not repeats:
        return {}
    excerpts = sound(encoder, seconds, music)

    def rate(of: Encoder) -> tuple[float, Array]:
        rows = np.concatenate([rows for _, rows in of.windows_of(excerpts)])
        return seconds / min(cpu_of(listen, of, excerpts) for _ in range(repeats)), rows

    best, rows = rate(encoder)
    result = {
        "name": name, "dims": encoder.dims, "engine": encoder.engine, "weights": _origin(name), "rate": best,
        "ready": ready, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "batches": batches(encoder, excerpts, seconds, repeats),
    }  # fmt: skip
    if isinstance(encoder, TorchEncoder):
        exact = {"engine": "torch"} | ({} if name == "musicnn" else {"precision": "float32"})
        plain, wanted = rate(made(name, folder, **exact))
        result |= {"plain": plain, "cosine": float((unit(rows) * unit(wanted)).sum(axis=1).min())}
    return result


def sound(encoder: Encoder, seconds: float, music: Path | None) -> list[Excerpt]:
    """Return so many seconds of a made-up sound, or of music, cut as the encoder hears best."""
    length = min(encoder.listening.seconds, seconds)
    if music:
        with hear(audio_files(music)[0], Listening(round(seconds / length), length)) as hearing:
            return list(hearing.excerpts)
    t = np.arange(round(seconds * 44100)) / 44100
    noise = 0.05 * np.random.default_rng(0).standard_normal(len(t))
    y = 0.3 * np.sin(2 * np.pi * 220 * t * (1 + t / seconds)) + noise
    return list(excerpts_of(y.astype(np.float32), 44100, Listening(None, length)))


def listen(encoder: Encoder, excerpts: list[Excerpt]) -> None:
    """Encode excerpts as if for the first time: they keep what was derived from them."""
    encoder.windows_of([Excerpt(e.start, e.samples, e.rate) for e in excerpts])


def batches(encoder: Encoder, excerpts: list[Excerpt], seconds: float, repeats: int) -> dict[int, float]:
    """Return how fast windows are encoded in batches of several sizes, across excerpts, times real time."""
    found = {}
    for size in BATCHES if encoder.engine != "numpy" else ():
        # Both kinds of encoder keep the size as a constant of their file: nobody but this would change it.
        before, onnx._BATCH = onnx._BATCH, size
        torch_tools._BATCH["cpu"] = size
        found[size] = seconds / min(cpu_of(listen, encoder, excerpts) for _ in range(repeats))
        onnx._BATCH = torch_tools._BATCH["cpu"] = before
    return found


def _origin(name: str) -> str:
    return "own" if catalogue.is_here(ENCODERS[name]) else "random"


def plain_cnn14(path: Path) -> Any:
    """Return Cnn14 as published, Kong et al., 2020, written down plainly in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, came: int, goes: int) -> None:
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(came, goes, 3, padding=1, bias=False), nn.BatchNorm2d(goes)
            self.conv2, self.bn2 = nn.Conv2d(goes, goes, 3, padding=1, bias=False), nn.BatchNorm2d(goes)

        def forward(self, x: Any) -> Any:
            return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.bn0 = nn.BatchNorm2d(64)
            widths = [1, 64, 128, 256, 512, 1024, 2048]
            for i in range(6):
                setattr(self, f"conv_block{i + 1}", Block(widths[i], widths[i + 1]))
            self.fc1, self.fc_audioset = nn.Linear(2048, 2048), nn.Linear(2048, 527)

        def forward(self, logmel: Any) -> Any:
            x = self.bn0(logmel[:, None].transpose(1, 3)).transpose(1, 3)
            for i in range(6):
                x = getattr(self, f"conv_block{i + 1}")(x)
                x = functional.avg_pool2d(x, 2) if i < 5 else x
            x = x.mean(dim=3)
            return torch.relu(self.fc1(x.amax(dim=2) + x.mean(dim=2)))

    state = torch.load(path, weights_only=True)["model"]
    model = Plain().eval()
    model.load_state_dict({k: v for k, v in state.items() if "extractor" not in k})
    return model


def cnn14_whole(files: list[Path], folder: Path, targets: Targets) -> None:
    """Compare whole files: ours, and the way of the tutorials."""
    import librosa
    import torch

    torch.set_num_threads(1)
    engines = {"PyTorch": {"engine": "torch", "precision": "float32"}, "as installed": {}}
    ours = {name: made("panns-cnn14", folder, **options) for name, options in engines.items()}
    model = plain_cnn14(folder / "cnn14.pth")

    @torch.inference_mode()
    def tutorial(path: Path) -> Any:
        y, _ = librosa.load(path, sr=32000)
        y = y[: len(y) // 320_000 * 320_000]
        mel = librosa.feature.melspectrogram(
            y=y, sr=32000, n_fft=1024, hop_length=320, n_mels=64, fmin=50, fmax=14000, pad_mode="reflect"
        )
        logmel = torch.from_numpy(librosa.power_to_db(mel, top_db=None).T.astype(np.float32))
        return torch.cat([model(part[None]) for part in logmel[:-1].split(1000)]).mean(dim=0).numpy()

    def soundkin(encoder: Encoder, path: Path) -> Any:
        with hear(path, Listening(None, 30.0)) as hearing:
            windows = [encoder.windows(excerpt)[1] for excerpt in hearing.excerpts]
        return np.concatenate(windows)[: int(duration // 10)].mean(axis=0)  # tutorials drop what is left over

    tutorial(files[0])
    with hear(files[0], Listening(None, 30.0)) as hearing:
        duration = hearing.duration
    rows, vectors, costs = [], {}, {}
    for name, work in (
        ("librosa and PyTorch", tutorial),
        *((f"ours, {n}", lambda p, e=e: soundkin(e, p)) for n, e in ours.items()),
    ):
        begin = time.process_time()
        vectors[name] = work(files[0])
        costs[name] = time.process_time() - begin
    first = next(iter(vectors))
    for name, vector in vectors.items():
        cosine = float(vector @ vectors[first] / np.linalg.norm(vector) / np.linalg.norm(vectors[first]))
        engine = ours[name.removeprefix("ours, ")].engine if name.startswith("ours") else "torch float32"
        rows.append([name, engine, duration / costs[name], costs[first] / costs[name], f"{cosine:.6f}"])
    table(("Cnn14, a whole file", "engine", "x real time", "gain", "cosine to the first"), rows)
    targets.at_least(
        "Cnn14, as installed / the tutorials' way", costs[first] / costs["ours, as installed"], 2.0
    )


def heard(music: Path, names: list[str], jobs: int | None) -> dict[str, dict[str, Array]]:
    """Return the track vectors of each encoder by path, of the files that all of them can hear."""
    tasks = [Task(FileState(str(p), p.stat().st_size, p.stat().st_mtime_ns)) for p in audio_files(music)]
    tracks: dict[str, dict[str, Array]] = {name: {} for name in names}
    for task, outcome in embed_files(tasks, names, None, jobs):
        if isinstance(outcome, Embedded):
            for name, vector in zip(names, outcome.vectors.values(), strict=True):
                tracks[name][task.file.path] = vector
    return tracks


def fused(similarities: list[Array]) -> Array:
    """Fuse how near tracks are in several spaces by their ranks, as `similar --space A+B` does."""
    scores = np.zeros_like(similarities[0])
    for similarity in similarities:
        others = np.where(np.eye(len(similarity), dtype=bool), -np.inf, similarity)
        scores += 1 / (60 + 1 + (-others).argsort(axis=1).argsort(axis=1))
    return scores


def retrieval(music: Path, names: list[str], unheard: list[str], jobs: int | None) -> None:
    """Print how well the encoders whose weights are here, and pairs of them, find tracks of the same soundtrack."""
    tracks = heard(music, [*names, *unheard], jobs)
    paths = sorted(next(iter(tracks.values())))
    albums = [os.path.dirname(path) for path in paths]
    folds = []
    for fold in deal(albums, FOLDS):
        counts = {album: sum(albums[i] == album for i in fold) for album in albums}
        folds.append([i for i in sorted(fold) if counts[albums[i]] >= SMALLEST])
    figures: dict[str, list[Scores]] = defaultdict(list)
    for number, fold in enumerate(folds):
        if not fold:
            continue
        sources = {name: name for name in names} | ({"cnn": unheard[number]} if unheard else {})
        units = {name: unit(np.stack([tracks[of][paths[i]] for i in fold])) for name, of in sources.items()}
        near = {name: vectors @ vectors.T for name, vectors in units.items()}
        near |= {f"{a}+{b}": fused([near[a], near[b]]) for a, b in combinations(sources, 2)}
        for name, similarity in near.items():
            figures[name].append(ranking_scores(similarity, [albums[i] for i in fold]))
    print(f"{len(paths)} tracks, {len(set(albums))} soundtracks, {len(folds)} folds")
    rows = [[name, *(_spread([f[c] for f in found]) for c in COLUMNS)] for name, found in figures.items()]
    table(("retrieval", *COLUMNS), rows)


def _spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ± {np.std(values):.3f}"


def measured(name: str, folder: Path, seconds: float, repeats: int, music: Path | None) -> dict[str, Any]:
    """Measure an encoder in a process of its own; a second one, so that what is exported once has been."""
    import subprocess

    command = [
        sys.executable,
        __file__,
        *([str(music)] if music else []),
        "--one",
        name,
        "--random",
        str(folder),
    ]
    command += ["--seconds", str(seconds)]
    for times in (0, repeats):
        done = subprocess.run(
            [*command, "--repeats", str(times)], env=environment(), stdout=subprocess.PIPE, check=True
        )
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def show_speed(rows: list[dict[str, Any]], targets: Targets) -> None:
    """Print speed, memory, how exact the engine is, and what larger batches would gain."""
    table(
        ("encoder", "dims", "weights", "size", "engine", "x real time", "peak MB", "CPU s to load"),
        [
            [r["name"], r["dims"], r["weights"], ENCODERS[r["name"]].size, r["engine"], r["rate"],
             f"{r['memory']:.0f}", r["ready"]]
            for r in rows
        ],
    )  # fmt: skip
    networks = [r for r in rows if "plain" in r]
    if networks:
        against = (
            "engine against PyTorch, float32",
            "engine",
            "x real time",
            "PyTorch",
            "gain",
            "least cosine",
        )
        cells = [
            [r["name"], r["engine"], r["rate"], r["plain"], r["rate"] / r["plain"], f"{r['cosine']:.6f}"]
            for r in networks
        ]
        table(against, cells)
        for r in networks:
            targets.at_least(f"{r['name']}, least cosine of a window to float32", r["cosine"], 0.9995)
    if batched := [r for r in rows if r["batches"]]:
        titles = ("x real time with windows in batches of", *map(str, BATCHES))
        table(titles, [[r["name"], *(r["batches"][str(n)] for n in BATCHES)] for r in batched])


def main() -> int:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("music", nargs="?", type=Path, help="a folder with one folder per soundtrack")
    parser.add_argument("--encoder", action="append", choices=list(ENCODERS), help="only these")
    parser.add_argument("--seconds", type=float, default=60.0, help="of sound to encode")
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--jobs", type=int, help="processes for the retrieval")
    parser.add_argument(
        "--random", type=Path, help="where random weights are kept (default: a temporary folder)"
    )
    parser.add_argument(
        "--unheard", action="append", default=[], metavar="FOLDER", help="cnn of a fold, for folds 0, 1 and 2"
    )
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--check", action="store_true", help="fail when a target is missed")
    args = parser.parse_args()
    if args.one:
        print(json.dumps(speed(args.one, args.random, args.seconds, args.repeats, args.music)))
        return 0
    if len(args.unheard) not in (0, FOLDS):
        parser.error(f"--unheard came {len(args.unheard)} times; wanted {FOLDS}, or none")
    targets = Targets()
    names = args.encoder or list(ENCODERS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.random or Path(temporary)
        show_speed(
            [measured(name, folder, args.seconds, args.repeats, args.music) for name in names], targets
        )
        if args.music and "panns-cnn14" in names:
            cnn14_whole(audio_files(args.music), folder, targets)
    ready = [name for name in names if catalogue.is_here(ENCODERS[name])]
    if args.music and ready:
        retrieval(args.music, ready, args.unheard, args.jobs)
    return targets.finish(args.check)


if __name__ == "__main__":
    sys.exit(main())
