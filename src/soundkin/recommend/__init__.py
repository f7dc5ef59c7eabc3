"""What sounds alike, and what a person would like: from nearest neighbours to a list worth hearing.

`neighbours` finds the neighbours of one sound, `blend` brings many likes and dislikes together. What they share:
`closeness` says how much a similarity means in this library, `copies` tells recordings apart, `variety` keeps
a list from repeating itself, `reasons` says why. All of it are functions on a record and an index; `Library`
gives them their arguments.
"""

from soundkin.recommend.blend import STRATEGIES, Seeds, nearest_dislikes, recommend
from soundkin.recommend.closeness import SAMPLE, Closeness
from soundkin.recommend.copies import is_copy, moments_alike, windows_of
from soundkin.recommend.hits import Hit, Moment, Query
from soundkin.recommend.neighbours import Near, nearest, similar, unwanted_of, with_windows
from soundkin.recommend.nothing import why_nothing
from soundkin.recommend.reasons import reasons
from soundkin.recommend.tastes import MOST_SPEAK, SKIP_WEIGHT, speakers, taste_of
from soundkin.recommend.variety import Variety, pick

__all__ = [
    "MOST_SPEAK", "SAMPLE", "SKIP_WEIGHT", "STRATEGIES", "Closeness", "Hit", "Moment", "Near", "Query", "Seeds",
    "Variety", "is_copy", "moments_alike", "nearest", "nearest_dislikes", "pick", "reasons", "recommend", "similar",
    "speakers", "taste_of", "unwanted_of", "why_nothing", "windows_of", "with_windows",
]  # fmt: skip
