"""A learned order of candidates: LambdaMART (Burges, MSR-TR-2010-82) by LightGBM, its trees walked with numpy.

Training needs the extra ``rank``. Answering does not: the trees are a few arrays, which are kept and read like any
others, and of 500 candidates all are walked at once.
"""

from dataclasses import asdict, dataclass
from importlib import import_module
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from soundkin.errors import MissingExtra

Array = NDArray[np.float32]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FEATURES = (
    "score", "sound", "nearest", "taste", "near", "closest", "artist", "popularity", "trust", "person", "mainstream",
    "breadth", "faithful",
)  # fmt: skip
"""What a candidate is judged by, in the order of the columns; `candidates.features` says what each is."""
VERSION = 1
"""Of what the features mean; trees of another one are not asked."""
_TREES, _LEAVES, _DEPTH = 100, 16, 5
_SETTINGS: dict[str, Any] = {
    "objective": "lambdarank", "lambdarank_truncation_level": 30, "num_leaves": _LEAVES, "max_depth": _DEPTH,
    "learning_rate": 0.05, "min_data_in_leaf": 100, "max_bin": 63, "deterministic": True, "force_row_wise": True,
    "num_threads": 1, "verbosity": -1,
}  # fmt: skip


@dataclass(frozen=True)
class Examples:
    """Candidates of many people, and which of them they played.

    Parameters
    ----------
    rows : float32 (m, features)
        One for each candidate.
    right : bool (m,)
        Whether it was played.
    sizes : int64 (groups,)
        How many candidates, that follow each other, are compared with each other.
    """

    rows: Array
    right: NDArray[np.bool_]
    sizes: Ints


@dataclass(frozen=True)
class Ranker:
    """Trees, all nodes of which stand in one row of arrays; a leaf is its own child.

    Parameters
    ----------
    feature : int32 (nodes,)
        Which feature is looked at.
    threshold : float64 (nodes,)
        Above it the walk goes to the second child; infinite in a leaf.
    child : int32 (nodes,)
        The first of the two children, which stand side by side.
    value : float64 (nodes,)
        Of a leaf.
    roots : int32 (trees,)
        Where each tree begins.
    features : tuple of str
        Those that it was trained with.
    version : int
        And of what meaning.
    """

    feature: NDArray[np.int32]
    threshold: Floats
    child: NDArray[np.int32]
    value: Floats
    roots: NDArray[np.int32]
    features: tuple[str, ...] = FEATURES
    version: int = VERSION

    @property
    def is_stale(self) -> bool:
        """Whether it was trained with other features than there are now."""
        return (self.features, self.version) != (FEATURES, VERSION)

    def scores(self, rows: Array) -> Array:
        """Return a score for each candidate.

        Parameters
        ----------
        rows : float32 (m, features)
            As `candidates.features` gives them.

        Returns
        -------
        float32 (m,)
            More is better; only differences mean anything.
        """
        m, width = rows.shape
        at = np.repeat(self.roots[None], m, axis=0).ravel()
        begin = np.repeat(np.arange(m) * width, len(self.roots))
        flat = np.ascontiguousarray(rows).ravel()
        for _ in range(_DEPTH):
            at = self.child[at] + (flat[begin + self.feature[at]] > self.threshold[at])
        return self.value[at].reshape(m, len(self.roots)).sum(axis=1).astype(np.float32)

    def arrays(self) -> dict[str, Any]:
        """Return all of it as arrays, by name, for a file."""
        return {name: np.array(value) for name, value in asdict(self).items()}

    @classmethod
    def of_arrays(cls, arrays: dict[str, Any]) -> Self:
        """Make one of what `arrays` returned.

        Parameters
        ----------
        arrays : dict of str to ndarray
            From a file.

        Returns
        -------
        Ranker
            Which may be stale.

        Raises
        ------
        ValueError
            The arrays are no trees.
        """
        names = "feature", "threshold", "child", "value", "roots"
        feature, threshold, child, value, roots = (arrays[name] for name in names)
        features, n = tuple(map(str, arrays["features"])), len(feature)
        same = len(threshold) == len(child) == len(value) == n
        inner = np.isfinite(threshold)
        if not (
            same and n and _within(roots, n) and _within(child, n) and _within(child[inner] + 1, n)
            and _within(feature, len(features)) and np.isfinite(value).all()
        ):  # fmt: skip
            raise ValueError("no trees")
        return cls(feature, threshold, child, value, roots, features, int(arrays["version"]))


def _within(numbers: NDArray[Any], n: int) -> bool:
    return bool(((numbers >= 0) & (numbers < n)).all())


def has_lightgbm() -> bool:
    """Tell whether a ranker can be learned here: LightGBM is installed, and finds the system's OpenMP."""
    try:
        import_module("lightgbm")
    except (ImportError, OSError):
        return False
    return True


def fit(examples: Examples, seed: int = 0) -> Ranker:
    """Learn an order.

    Parameters
    ----------
    examples : Examples
        Of the features that serving computes as well.
    seed : int
        Of what is drawn.

    Returns
    -------
    Ranker
        Of at most 100 trees of 16 leaves.

    Raises
    ------
    MissingExtra
        LightGBM is not installed, or the system lacks what it needs.
    """
    try:
        import lightgbm
    except (ImportError, OSError) as error:  # OSError: it is there, but the OpenMP of the system is not
        raise MissingExtra(
            f"a ranker is trained by LightGBM: pip install 'soundkin[rank]' ({error})"
        ) from error
    data = lightgbm.Dataset(
        examples.rows, examples.right.astype(np.int32), group=examples.sizes, free_raw_data=False
    )
    booster = lightgbm.train({**_SETTINGS, "seed": seed}, data, _TREES)
    return _packed([tree["tree_structure"] for tree in booster.dump_model()["tree_info"]])


def _packed(trees: list[dict[str, Any]]) -> Ranker:
    """Put trees as LightGBM describes them into arrays."""
    feature, threshold, child, value = list[int](), list[float](), list[int](), list[float]()

    def room(n: int) -> int:
        first = len(feature)
        for i in range(n):
            feature.append(0)
            threshold.append(np.inf)
            child.append(first + i)
            value.append(0.0)
        return first

    roots = []
    for tree in trees:
        roots.append(room(1))
        left = [(roots[-1], tree)]
        while left:
            place, node = left.pop()
            if "leaf_value" in node:
                value[place] = node["leaf_value"]
                continue
            feature[place], threshold[place] = node["split_feature"], node["threshold"]
            child[place] = pair = room(2)
            left += [(pair, node["left_child"]), (pair + 1, node["right_child"])]
    return Ranker(
        np.array(feature, np.int32), np.array(threshold), np.array(child, np.int32), np.array(value),
        np.array(roots, np.int32),
    )  # fmt: skip
