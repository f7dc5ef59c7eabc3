import json
import math
import os
import signal
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from soundkin.errors import InputError, ModelError  # noqa: E402
from soundkin.features import FrontEnd, log_mel  # noqa: E402
from soundkin.training import changes  # noqa: E402
from soundkin.training.augment import augmented, mixed, shifted  # noqa: E402
from soundkin.training.changes import WINDOWS, cache_changed  # noqa: E402
from soundkin.training.data import (  # noqa: E402
    STEP_DB,
    Mels,
    Source,
    batch_of,
    cache_mels,
    crops,
    decode_db,
    encode_db,
    open_mels,
    sources_in,
    spread_windows,
)
from soundkin.training.export import export, multiply_adds  # noqa: E402
from soundkin.training.head import discriminants, second_moments  # noqa: E402
from soundkin.training.loop import Limits, Metrics, Trainer, decibels, halves_found, learning_rate, train  # noqa: E402
from soundkin.training.losses import info_nce, nt_xent  # noqa: E402
from soundkin.training.network import Encoder  # noqa: E402
from soundkin.training.recipes import RECIPES, Augment  # noqa: E402
from soundkin.training.teacher import Teacher  # noqa: E402

pytestmark = pytest.mark.torch

SMALL = replace(
    RECIPES["soundkin"],
    channels=(4, 8, 8),
    strides=(4, 1, 1),
    pools=(2, 1, 1),
    bands=4,
    dims=16,
    batch=8,
)


def invented(tracks: int = 12, frames: int = 400, seed: int = 0) -> Mels:
    """Tracks as cached log-mels: odd ones are harmonic stacks, even ones noise with a slope."""
    random = np.random.default_rng(seed)
    codes = []
    for number in range(tracks):
        noise = random.normal(0, 6, (frames, 128))
        if number % 2:
            lines = np.zeros(128)
            lines[random.integers(5, 9) :: random.integers(6, 12)] = 60
            level = lines - 70 + noise
        else:
            level = random.normal(-30, 5) - np.arange(128) * random.uniform(0.1, 0.4) + noise
        codes.append(encode_db(level.astype(np.float32)))
    sources = [Source(f"{i}.wav", f"album {i // 3}") for i in range(tracks)]
    return Mels(FrontEnd(), sources, codes)


# --- losses: values known in closed form


@pytest.mark.parametrize("n", [2, 7, 64])
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_losses_when_all_similarities_are_equal(n, temperature):
    same = torch.ones(n, 5)
    assert info_nce(same, 3 * same, temperature).item() == pytest.approx(math.log(n), rel=1e-5)
    assert nt_xent(same, 3 * same, temperature).item() == pytest.approx(math.log(2 * n - 1), rel=1e-5)


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_losses_when_partners_are_equal_and_strangers_orthogonal(temperature):
    n = 6
    views = torch.eye(n)
    strangers = math.exp(-1 / temperature)
    assert info_nce(views, views, temperature).item() == pytest.approx(
        math.log1p((n - 1) * strangers), rel=1e-3, abs=1e-6
    )
    assert nt_xent(views, views, temperature).item() == pytest.approx(
        math.log1p((2 * n - 2) * strangers), rel=1e-3, abs=1e-6
    )


def test_kin_are_not_pushed_apart():
    n = 6
    same = torch.ones(n, 4)
    kin = torch.block_diag(*[torch.ones(3, 3)] * 2).bool()
    # Left for each view: its partner, and the 2 views of each of the 3 tracks of the other album.
    assert nt_xent(same, same, 0.1, kin).item() == pytest.approx(math.log(1 + 2 * 3), rel=1e-5)


# --- data


def test_cache_equals_the_front_end_and_is_not_made_twice(tmp_path):
    random = np.random.default_rng(0)
    front = FrontEnd()
    for album in ("one", "two"):
        (tmp_path / "music" / album).mkdir(parents=True)
        y = random.normal(0, 0.1, 3 * front.rate).astype(np.float32)
        soundfile.write(tmp_path / "music" / album / "a.wav", y, front.rate, subtype="FLOAT")
    (tmp_path / "music" / "two" / "b.wav").write_bytes(b"not audio")
    sources = sources_in(tmp_path / "music")
    calls = []
    mels = cache_mels(sources, tmp_path / "cache", front, progress=lambda *seen: calls.append(seen))
    assert mels.albums == ["one", "two"]
    assert [done for done, _, _ in calls] == [1, 2, 3]
    wanted = log_mel(y, front).T
    assert np.abs(decode_db(np.asarray(mels.tracks[1])) - wanted).max() <= STEP_DB / 2 + 1e-4

    stamps = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").glob("*.npy")}
    again = cache_mels(sources, tmp_path / "cache", front)
    assert stamps == {p.name: p.stat().st_mtime_ns for p in (tmp_path / "cache").glob("*.npy")}
    assert again.sources == mels.sources == open_mels(tmp_path / "cache").sources


def test_windows_are_kept_as_they_are_and_as_other_files_would_have_them(tmp_path):
    front, rate = FrontEnd(), 44_100
    y = np.random.default_rng(0).normal(0, 0.05, (40 * rate, 2)).astype(np.float32)
    soundfile.write(tmp_path / "quiet.wav", y, rate, subtype="FLOAT")
    soundfile.write(tmp_path / "short.wav", y[: 2 * rate] * 10, 37_800, subtype="FLOAT")
    (tmp_path / "broken.wav").write_bytes(b"not audio")
    sources = [Source(str(tmp_path / name), "") for name in ("quiet.wav", "broken.wav", "short.wav")]
    mels = Mels(front, sources, [np.zeros((200, 128), np.uint8)] * 3)
    quiet, broken, short = cache_changed(mels, tmp_path, 129)
    assert broken is None
    assert quiet is not None
    assert short is not None
    assert quiet.shape == (3, WINDOWS, 128, 129)
    assert short.shape == (3, 1, 128, 129)
    as_it_is, coded, louder = (decode_db(np.asarray(part)) for part in quiet)
    # Nothing of it reaches full scale: twice the amplitude is 6.02 dB everywhere, and a step is 0.6 dB.
    np.testing.assert_allclose(louder - as_it_is, 6.02, atol=STEP_DB)
    assert 0.2 < np.abs(coded - as_it_is).mean() < 6
    assert np.corrcoef(coded.ravel(), as_it_is.ravel())[0, 1] > 0.5  # the same moments, not others
    # Most of the other one does: noise of amplitude 0.5, twice as loud, cannot grow by 6 dB.
    as_it_is, _, louder = (decode_db(np.asarray(part)) for part in short)
    assert 1 < np.median(louder - as_it_is) < 5

    stamps = {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.npy")}
    assert len(stamps) == 2
    cache_changed(mels, tmp_path, 129)
    assert stamps == {p: p.stat().st_mtime_ns for p in tmp_path.glob("*.npy")}


def test_of_a_large_set_only_some_tracks_are_changed(tmp_path, monkeypatch):
    monkeypatch.setattr(changes, "MOST_TRACKS", 2)
    for name in "abc":
        soundfile.write(tmp_path / f"{name}.wav", np.zeros(22_050, np.float32), 22_050)
    sources = [Source(str(tmp_path / f"{name}.wav"), "") for name in "abc"]
    made = cache_changed(Mels(FrontEnd(), sources, [np.zeros((9, 128), np.uint8)] * 3), tmp_path, 129)
    assert [codes is None for codes in made] == [False, True, False]


def test_no_music_no_cache(tmp_path):
    with pytest.raises(InputError, match="no audio files"):
        sources_in(tmp_path)
    with pytest.raises(InputError, match="cache_mels"):
        open_mels(tmp_path)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 9), min_size=2, max_size=40), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_batches_hold_as_many_albums_as_possible(numbers, size, seed):
    albums = [str(n) for n in numbers]
    which = batch_of(albums, size, np.random.default_rng(seed))
    assert len(which) == min(size, len(albums)) == len(set(which.tolist()))
    drawn = {albums[i] for i in which}
    assert len(drawn) == min(len(which), len(set(albums)))


def test_crops_come_from_their_track():
    tracks = [np.full((200 + 100 * i, 4), i, np.uint8) for i in range(5)]
    cut = crops(tracks, np.array([3, 0, 3]), 129, np.random.default_rng(0))
    assert cut.shape == (3, 4, 129)
    assert (cut == np.array([3, 0, 3])[:, None, None]).all()


def test_windows_are_spread_over_the_whole_track():
    track = np.arange(129 + 128 * 9, dtype=np.uint16)[:, None].astype(np.uint8)
    assert len(spread_windows(track, 129, 99)) == 10
    few = spread_windows(track, 129, 3)
    assert few[0, 0, 0] == 0
    assert few[-1, 0, -1] == track[-1, 0]
    assert spread_windows(track[:50], 129, 3).shape == (1, 1, 129)


# --- augmentations: what they must leave alone


def test_augmentations_are_repeatable_and_do_not_touch_their_input():
    x = decibels(spread_windows(invented().tracks[0], 129, 2))
    before = x.clone()
    how = RECIPES["soundkin"].augment
    first = augmented(x, how, torch.Generator().manual_seed(1))
    assert torch.equal(x, before)
    assert torch.equal(first, augmented(x, how, torch.Generator().manual_seed(1)))
    assert not torch.equal(first, augmented(x, how, torch.Generator().manual_seed(2)))
    assert torch.equal(augmented(x, Augment(), torch.Generator()), x)


def test_mixing_adds_power_and_at_most_a_quarter_of_the_peak():
    x = torch.full((4, 8, 8), -20.0)
    y = mixed(x, 1.0, torch.Generator().manual_seed(0))
    assert (y > x).all()
    # Two equal powers 6 dB apart sum to 10 log10(1 + 10^-0.6) = 0.97 dB more.
    assert (y - x).max() <= 10 * math.log10(1 + 10**-0.6) + 1e-4


def test_pitch_moves_every_band_by_the_same_number():
    x = torch.arange(32.0)[None, :, None].expand(50, 32, 3)
    by = shifted(x, 2, torch.Generator().manual_seed(0))[:, 2:-2] - x[:, 2:-2]
    assert set(by.flatten().tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0}
    assert (by == by[:, :1, :1]).all()


# --- network and export


def test_gain_does_not_matter():
    encoder = Encoder(SMALL).eval()
    x = decibels(spread_windows(invented().tracks[1], 129, 3))
    with torch.no_grad():
        torch.testing.assert_close(encoder(x), encoder(x - 17.0), atol=1e-5, rtol=0)


def test_what_is_far_below_the_loudest_is_silence():
    x = decibels(spread_windows(invented().tracks[1], 129, 3))
    floor = x.amax((1, 2), keepdim=True) - 30.0
    assert (x < floor).any()
    without = torch.where(x < floor, floor - 5.0, x)

    def moved(range_db: float) -> float:
        encoder = Encoder(replace(SMALL, range_db=range_db)).eval()
        with torch.no_grad():
            return (encoder(x) - encoder(without)).abs().max().item()

    assert moved(80.0) > 1e-3
    assert moved(30.0) < 1e-6


def test_soundkin_recipe_is_small():
    encoder = Encoder(RECIPES["soundkin"])
    # A tenth of MusiCNN's 430 million multiply-adds per second of audio; a window brings 128 new frames.
    assert multiply_adds(encoder) / (128 * 512 / 22050) < 43e6


def test_multiply_adds_of_the_article():
    # Three 3 x 3 "same" convolutions over 128 x 129, 64 x 64 and 32 x 32 cells, then 128 x 128.
    wanted = 9 * (128 * 129 * 32 + 64 * 64 * 32 * 64 + 32 * 32 * 64 * 128) + 128 * 128
    assert multiply_adds(Encoder(RECIPES["article"])) == wanted


@pytest.mark.parametrize("recipe", [SMALL, replace(RECIPES["article"], channels=(4, 4, 8), dims=8)])
def test_exported_network_equals_torch(recipe, tmp_path):
    import onnxruntime

    mels = invented()
    encoder = train(mels, recipe, Limits(steps=3), seed=1)
    export(encoder, tmp_path, mels.front, name="x", data="made", licence="Apache-2.0", metrics={"a": 1})
    card = json.loads((tmp_path / "encoder.json").read_text())
    assert (card["dims"], card["window_samples"], card["hop_samples"]) == (recipe.dims, 67584, 65536)
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx")
    for batch in (1, 5):
        x = decibels(spread_windows(mels.tracks[0], 129, batch))
        x = torch.cat([x, torch.full((1, 128, 129), -100.0)])  # silence is a window too
        with torch.no_grad():
            wanted = encoder(x).numpy()
        (got,) = session.run(None, {"logmel": x.numpy()})
        np.testing.assert_allclose(got, wanted, atol=1e-4)
        np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-4)


# --- the head: constructions whose discriminants are known


def scattered(n: int = 40, windows: int = 60, seed: int = 0):
    """Tracks that differ along axis 1 only, with windows that differ most along axis 0."""
    random = np.random.default_rng(seed)
    spread = np.array([10.0, 0.5, 2.0])
    return [
        torch.from_numpy(random.normal(0, 1, (windows, 3)) * spread + [0, random.normal(0, 3), 0])
        for _ in range(n)
    ]


def test_the_first_discriminant_is_where_tracks_differ():
    tracks = scattered()
    weight, bias = discriminants(tracks, [1.0] * 40, dims=3, shrinkage=0.0, flatten=0.0)
    first = weight[0] / weight[0].norm()
    assert abs(first[1].item()) > 0.99
    mapped = torch.stack([(t.float() @ weight.T + bias) for t in tracks])
    assert mapped.mean((0, 1)).abs().max() < 1e-4
    # Unit variance within tracks, in every direction.
    torch.testing.assert_close(mapped.var(1, correction=0).mean(0), torch.ones(3), rtol=1e-3, atol=0)


def test_a_change_that_hides_what_tracks_differ_in_costs_that_axis_its_lead():
    tracks = [t + torch.tensor([0.0, 0.0, 12.0]) * (i % 2) for i, t in enumerate(scattered())]
    first = [
        discriminants(tracks, [1.0] * 40, 1, 0.0, 0.0, nuisance)[0][0].abs().argmax().item()
        for nuisance in (None, second_moments([torch.tensor([[0.0, 100.0, 0.0]])] * 40, [1.0] * 40))
    ]
    assert first == [1, 2]


def test_a_change_of_each_track_makes_the_last_layer_overlook_it():
    mels = invented()
    windows = [np.stack([track[:129].T, track[129:258].T]) for track in mels.tracks]
    fainter = [np.stack([w, np.where(np.arange(128)[:, None] < 64, w, w // 2)]) for w in windows]
    moved = []
    for changed in ((), fainter):
        network = train(mels, SMALL, Limits(steps=1), changed=changed)
        with torch.no_grad():
            before, after = (
                torch.nn.functional.normalize(
                    network(decibels(np.stack([f[k] for f in fainter])[:, 0])), dim=1
                )
                for k in (0, 1)
            )
        moved.append((before * after).sum(1).mean().item())
    assert moved[1] > moved[0] + 0.02


def test_second_moments_are_not_about_the_mean():
    changes = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [3.0, 0.0]])]
    wanted = torch.tensor([[(1 + 3 * 9) / 4, 2 / 4], [2 / 4, 4 / 4]], dtype=torch.float64)
    torch.testing.assert_close(second_moments(changes, [1.0, 3.0]), wanted)


def test_discriminants_do_not_depend_on_the_coordinates():
    tracks = scattered()
    mixing = torch.tensor([[1.0, 2.0, 0.0], [0.0, 3.0, 1.0], [5.0, 0.0, 1.0]], dtype=torch.float64)

    def similarities(features):
        weight, bias = discriminants(features, [1.0] * 40, dims=2, shrinkage=0.0, flatten=0.2)
        z = torch.nn.functional.normalize(torch.cat(features).float() @ weight.T + bias, dim=1)
        return z[::50] @ z[::50].T

    torch.testing.assert_close(
        similarities(tracks), similarities([t @ mixing for t in tracks]), atol=1e-3, rtol=0
    )


def test_flattening_makes_directions_equally_strong():
    tracks = [t + torch.tensor([0.0, 0.0, 4.0]) * (i % 2) for i, t in enumerate(scattered())]
    weight, bias = discriminants(tracks, [1.0] * 40, dims=2, shrinkage=0.0, flatten=0.5)
    means = torch.stack([(t.float() @ weight.T + bias).mean(0) for t in tracks])
    torch.testing.assert_close(means.var(0, correction=0), torch.ones(2), rtol=1e-2, atol=0)


def test_fewer_tracks_than_dimensions():
    weight, _ = discriminants(scattered(n=2), [1.0, 1.0], dims=3, shrinkage=0.1, flatten=0.0)
    assert weight.isfinite().all()
    assert (weight[1:] == 0).all()


# --- the teacher


def test_a_teacher_speaks_in_standard_scores_of_the_windows_it_heard():
    random = np.random.default_rng(0)
    starts = [np.array([0, 128]), np.array([0, 128, 256])]
    said = [random.normal(5, 3, (len(s), 4)).astype(np.float32) for s in starts]
    teacher = Teacher.of(starts, said)
    every = np.concatenate(teacher.vectors)
    np.testing.assert_allclose(every.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(every.std(0), 1, atol=1e-5)
    near, picked = teacher.pick(np.array([1, 1, 0]), random)
    for track, start, vector in zip([1, 1, 0], near, picked, strict=True):
        window = starts[track].tolist().index(start)
        assert np.array_equal(vector, teacher.vectors[track][window])


def test_crops_near_a_place():
    tracks = [np.arange(250, dtype=np.uint8)[:, None]]
    cut = crops(tracks, np.zeros(50, np.int64), 129, np.random.default_rng(0), near=[60] * 50)
    assert set(cut[:, 0, 0].tolist()) <= set(range(52, 69))
    assert len(set(cut[:, 0, 0].tolist())) > 10


@pytest.mark.slow
def test_the_student_learns_to_foretell_the_teacher():
    mels = invented()
    starts = [np.array([0, 128]) for _ in mels.tracks]
    kinds = [np.full((2, 1), 1.0 if i % 2 else -1.0, np.float32) for i in range(len(mels))]
    trainer = Trainer(mels, replace(SMALL, teaching=5.0), teacher=Teacher.of(starts, kinds))
    for _ in range(80):
        trainer.train_step(3e-3)
    trainer.encoder.eval()
    batch = trainer.batch()
    assert trainer.pupil is not None
    assert batch.taught is not None
    with torch.no_grad():
        foretold = trainer.pupil(trainer.encoder.features(torch.cat([batch.first, batch.second])))
    assert (foretold.sign() == batch.taught.sign()).float().mean() > 0.9


# --- the loop


def test_same_seed_same_weights():
    mels = invented()
    one, same, other = (train(mels, SMALL, Limits(steps=3), seed).state_dict() for seed in (5, 5, 6))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not torch.equal(one["dense.weight"], other["dense.weight"])


def test_rate_warms_up_and_falls():
    rates = [learning_rate(SMALL, step, step / 500) for step in range(501)]
    assert int(np.argmax(rates)) == 49
    assert rates[0] == pytest.approx(SMALL.learning_rate / 50)
    assert rates[500] == pytest.approx(SMALL.learning_rate / 100)


def test_time_ends_training():
    seen: list[Metrics] = []
    train(invented(), SMALL, Limits(seconds=1.0), on_metrics=seen.append, report_every=1)
    assert seen[-1].progress == 1.0
    assert 1.0 <= seen[-1].seconds < 10.0


def test_what_cannot_be_trained():
    with pytest.raises(InputError, match="never end"):
        train(invented(), SMALL, Limits())
    with pytest.raises(InputError, match="at least 2"):
        train(invented().subset([0]), SMALL, Limits(steps=1))


def test_a_checkpoint_of_another_run_is_refused(tmp_path):
    Trainer(invented(), SMALL, seed=1).save(tmp_path / "c")
    with pytest.raises(ModelError, match="seed 1, this run 2"):
        train(invented(), SMALL, Limits(steps=1), seed=2, checkpoint=tmp_path / "c")


@pytest.mark.slow
def test_killed_and_resumed_is_as_never_interrupted(tmp_path):
    script = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        sys.path.insert(0, sys.argv[2])
        from test_training import SMALL, Limits, invented, train
        report = lambda m: print(m.step, flush=True)
        at = Path(sys.argv[1])
        train(invented(), SMALL, Limits(steps=100), 3, checkpoint=at, report_every=5, on_metrics=report)
        """
    )
    checkpoint = tmp_path / "checkpoint"
    command = [sys.executable, "-c", script, str(checkpoint), str(Path(__file__).parent)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
        assert child.stdout is not None
        while int(child.stdout.readline()) < 10:
            pass
        child.send_signal(signal.SIGKILL)
    assert child.returncode == -signal.SIGKILL
    seen: list[int] = []
    resumed = train(
        invented(), SMALL, Limits(steps=100), 3, checkpoint=checkpoint, report_every=5,
        on_metrics=lambda m: seen.append(m.step),
    )  # fmt: skip
    assert 10 < seen[0] < 100
    whole = train(invented(), SMALL, Limits(steps=100), 3).state_dict()
    assert all(torch.equal(whole[k], v) for k, v in resumed.state_dict().items())


@pytest.mark.slow
def test_training_separates_what_random_weights_confuse():
    unheard = invented(24, seed=9)
    # what tells invented tracks apart lies farther below their lines than the recipe hears
    recipe = replace(SMALL, augment=Augment(), spare_albums=False, range_db=80.0)
    untrained = Trainer(invented(24), recipe, seed=0).encoder
    trained = train(invented(24), recipe, Limits(steps=150), seed=0)
    assert halves_found(trained, unheard) > halves_found(untrained, unheard)
    assert halves_found(trained, unheard) > 0.6
