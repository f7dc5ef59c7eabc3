"""Why an answer is empty, and which condition to leave out for one that is not."""

from collections.abc import Collection, Mapping

import numpy as np

from soundkin.embed import Space
from soundkin.filters import And, Filter
from soundkin.index import Index


def why_nothing(
    index: Index, space: Space, conditions: Mapping[str, Filter], known: Collection[int] = ()
) -> str:
    """Say which of some conditions leaves nothing.

    Parameters
    ----------
    index : Index
        Up to date with the record.
    space : Space
        Where was looked.
    conditions : mapping of str to Filter
        What the answer had to fulfil, by what people call it.
    known : collection of int
        Tracks that are no answer in any case, by their numbers in the index: the question, likes and dislikes.

    Returns
    -------
    str
        One line that suggests what to leave out.
    """
    anywhere = np.ones(space.dims, np.float32)

    def some(names: Collection[str], exclude: Collection[int] = known) -> bool:
        parts = tuple(conditions[name] for name in names)
        return bool(index.search(space.id, anywhere, 1, And(parts) if parts else None, exclude))

    if not some(()):
        return "the library has nothing else"
    passing = (
        "only what was asked with, liked or disliked passes" if some(conditions, ()) else "no track passes"
    )
    one = [left for left in conditions if some([name for name in conditions if name != left])]
    if one:
        every = " all filters" if len(conditions) > 1 else ""
        return f"{passing}{every}; without {' or without '.join(one)} some do"
    alone = [name for name in conditions if not some([name])]
    return f"{passing}: leave out {' and '.join(alone or conditions)}"
