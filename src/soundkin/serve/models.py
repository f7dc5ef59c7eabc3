"""What requests and answers look like: the types behind the OpenAPI document."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Text = Annotated[str, Field(min_length=1, max_length=500)]
Id = Annotated[str, Field(pattern="^[0-9a-f]{16}$", description="16 hex digits")]
Filters = Annotated[list[Annotated[str, Field(max_length=2000)]], Field(max_length=20)]
Verdict = Literal["", "like", "dislike"]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Number = Annotated[int, Field(ge=1, le=500)]

_FILTERS: Any = Field([], description='Filters as in the command: "genre=samba", "year>=1990"; all must hold')


class Asked(BaseModel):
    """A request: what is not known is refused, so that a mistyped name is not overlooked."""

    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """What went wrong."""

    kind: str = Field(
        description="bad_request, login, forbidden, not_found, conflict, ambiguous, too_large, undecodable, invalid, "
        "busy, unavailable, missing_extra or internal"
    )
    message: str = Field(description="One line for people: what came, what was wanted, what to do")
    choices: list["Track"] | None = Field(None, description="What ambiguous words match")


class ErrorAnswer(BaseModel):
    """The one shape of every error."""

    error: Problem


class Track(BaseModel):
    """One track."""

    id: str
    name: str = Field(description="What to show: the title, or what the file is called")
    title: str
    artist: str
    album: str
    album_artist: str
    genres: list[str]
    year: int | None
    track: int | None
    disc: int | None
    duration: float = Field(description="Seconds")
    bpm: float | None
    key: str
    energy: float | None = Field(description="0 to 1")
    loudness: float | None = Field(description="dBFS")
    format: str
    sample_rate: int
    channels: int
    size: int = Field(description="Bytes")
    added: float = Field(description="Seconds since 1970")
    path: str = Field(description="Of the file on the server")
    verdict: Verdict = Field("", description="What the profile thinks of it")


class TracksPage(BaseModel):
    """Some of many tracks."""

    total: int = Field(description="How many pass the filters")
    offset: int
    tracks: list[Track]


class SearchAnswer(BaseModel):
    """What words match, the best first."""

    tracks: list[Track]
    artists: list["FacetValue"] = Field(description="Artists that match; `filter` shows their tracks")
    albums: list["FacetValue"]


class FacetValue(BaseModel):
    """One chip: a value, how many tracks of the selection have it, and the filter that asks for it."""

    value: str
    count: int
    filter: str


class Facets(BaseModel):
    """Values of fields with their counts under the filters given."""

    total: int
    facets: dict[str, list[FacetValue]]


class Moment(BaseModel):
    """A moment of a track in an answer that sounds like a moment of what was asked with."""

    here: float = Field(description="Where it begins in the track of the answer, seconds")
    there: float = Field(description="Where it begins in what was asked with, seconds")
    seconds: float
    cosine: float


class Hit(BaseModel):
    """A track in an answer."""

    rank: int
    id: str
    name: str
    title: str
    artist: str
    album: str
    path: str
    duration: float
    similarity: float = Field(description="0: like any two tracks of this library; 1: the same recording")
    reasons: list[str]
    cosine: float
    moments: list[Moment]
    follows: str = Field(description='Id of the liked track that speaks for it, or ""')
    close: bool = Field(description="False when it is no closer than chance")
    there: bool = Field(description="False when the file is gone")
    genres: list[str]
    year: int | None
    bpm: float | None
    key: str
    energy: float | None
    verdict: Verdict


class Answer(BaseModel):
    """An answer, the best first."""

    space: str = Field(description="Id of the space that answered; several are joined by +")
    hits: list[Hit]
    note: str = Field(
        "",
        description="Why there is nothing, that nothing is close, or that hybrid is sound alone; for people",
    )


class Heard(BaseModel):
    """What an uploaded file is."""

    name: str
    title: str
    artist: str
    album: str
    genres: list[str]
    year: int | None
    duration: float
    bpm: float | None
    key: str
    energy: float | None


class UploadAnswer(Answer):
    """An answer to an upload; nothing of the file is kept."""

    heard: Heard


class VarietyRules(Asked):
    """How an answer may not repeat itself."""

    per_artist: int = Field(2, ge=1, le=1000)
    per_album: int = Field(2, ge=1, le=1000)
    window: int = Field(10, ge=1, le=1000, description="In any so many tracks that follow each other")
    diversity: float = Field(0.1, ge=0, le=1)


class SimilarRequest(Asked):
    """A sound that others should be like: exactly one of `query` and `text`."""

    query: Text | None = Field(None, description="An id, or words of artist, title and album")
    text: Text | None = Field(
        None, description="What it should sound like, in words; needs a space that reads"
    )
    k: Number = 10
    filters: Filters = _FILTERS
    space: str | None = Field(None, max_length=500)
    at: float | None = Field(None, ge=0, le=1e6, description="The moment that begins here, seconds")
    seconds: float = Field(10.0, ge=1, le=600, description="How long the moment is")
    moments: bool = Field(False, description="Order by the moments that come nearest")
    variety: VarietyRules | None = None
    versions: bool = False
    profile: str | None = Field(None, max_length=100)


class RecommendRequest(Asked):
    """Somebody's taste, given here or remembered."""

    likes: list[Text] = Field([], max_length=100, description="Ids or words")
    dislikes: list[Text] = Field([], max_length=100)
    profile: str | None = Field(None, max_length=100, description="Whose taste counts as well")
    k: Number = 20
    strategy: str = Field("", max_length=50, description="Empty: the best known")
    filters: Filters = _FILTERS
    space: str | None = Field(None, max_length=500)
    variety: VarietyRules | None = None
    discover: bool = Field(False, description="Prefer what the profile never played, or not for long")
    hybrid: bool = Field(False, description="Also go by what such people play, where that was learned")


class TasteStatus(BaseModel):
    """What was learned from plays, and whether it speaks to a profile."""

    learned: bool = Field(description="Whether anything was")
    why_not: str = Field(
        description="Why `hybrid` is sound alone for the profile; empty where taste has its say; for people"
    )
    method: str = Field("", description="cosine, ease, als or bpr")
    rows: Literal["", "people", "sessions"] = Field("", description="Whose plays were learned from")
    height: int = Field(0, description="How many of those there were")
    tracks: int = Field(0, description="Tracks that they have played")
    vectors: int = Field(0, description="Tracks with a taste vector, played or guessed")
    ranker: bool = Field(
        False, description="Whether a learned order is used in place of the transparent score"
    )


class PathRequest(Asked):
    """Two ends of a path."""

    start: Text
    end: Text
    n: int = Field(12, ge=2, le=200, description="Tracks, with both ends")
    filters: Filters = _FILTERS
    space: str | None = Field(None, max_length=500)
    variety: VarietyRules | None = None
    seed: int | None = Field(None, ge=0, le=2**31)
    profile: str | None = Field(None, max_length=100)


class PathAnswer(Answer):
    """A way from one track to another, in playing order."""

    jumps: list[int] = Field(description="Places in `hits` before which nothing lies between")


class RadioRequest(Asked):
    """A radio; the listener keeps its state: what was heard and said so far."""

    queries: list[Text] = Field(
        [], max_length=20, description="Where it begins; empty: what the profile likes"
    )
    n: int = Field(5, ge=1, le=50)
    heard: list[Id] = Field([], max_length=1000, description="What it has played so far, oldest first")
    liked: list[Id] = Field([], max_length=200)
    disliked: list[Id] = Field([], max_length=200)
    skipped: list[Id] = Field([], max_length=200)
    profile: str | None = Field(
        None, max_length=100, description="Whose dislikes and skips are kept away from"
    )
    filters: Filters = _FILTERS
    space: str | None = Field(None, max_length=500)
    variety: VarietyRules | None = None
    seed: int = Field(0, ge=0, le=2**31)


class FeedbackRequest(Asked):
    """What somebody said or did."""

    kind: Literal["like", "dislike", "unlike", "skip", "play"]
    tracks: list[Text] = Field(min_length=1, max_length=500, description="Ids or words")
    profile: str | None = Field(None, max_length=100)
    at: float | None = Field(None, ge=0, le=1e11, description="Seconds since 1970; default now")


class FeedbackAnswer(BaseModel):
    """What is remembered now."""

    profile: str
    kind: str
    tracks: list[str] = Field(description="Ids")


class HistoryEntry(BaseModel):
    """One thing a profile said or did."""

    track: str
    kind: str
    at: float


class Profile(BaseModel):
    """Somebody who listens."""

    name: str
    created: float
    likes: int
    dislikes: int
    skips: int
    plays: int


class ProfileRequest(Asked):
    """A new profile."""

    name: Annotated[str, Field(min_length=1, max_length=100)]


class MixRequest(Asked):
    """Make a playlist of what somebody likes, of a mood, or of a cluster."""

    likes: list[Text] = Field([], max_length=100)
    profile: str | None = Field(None, max_length=100)
    moods: list[Annotated[str, Field(max_length=50)]] = Field([], max_length=10)
    cluster: int | None = Field(None, ge=1, le=10_000)
    n: Number | None = None
    length: float | None = Field(None, gt=0, lt=1e6, description="Seconds to fill")
    filters: Filters = _FILTERS
    space: str | None = Field(None, max_length=500)
    variety: VarietyRules | None = None
    seed: int | None = Field(None, ge=0, le=2**31)


class PlaylistRequest(Asked):
    """A playlist to keep."""

    name: Name
    tracks: list[Id] = Field(max_length=10_000)


class PlaylistHead(BaseModel):
    """A playlist without its tracks."""

    id: str
    name: str
    count: int
    changed: float = Field(description="Seconds since 1970")


class Playlist(PlaylistHead):
    """A playlist with those of its tracks that the library has now."""

    tracks: list[Track]
    gone: int = Field(description="How many of its tracks the library no longer has")


class ExportRequest(Asked):
    """Tracks to write as a playlist file."""

    name: Name
    tracks: list[Id] = Field(max_length=10_000)
    format: Literal["m3u8", "xspf", "jspf"] = "m3u8"


class Cluster(BaseModel):
    """Tracks that sound alike."""

    number: int = Field(description="1 is the largest")
    name: str = Field(description="What sets it apart")
    count: int
    tracks: list[Track] = Field(description="The most typical, at most 12")


class DuplicatePair(BaseModel):
    """Two tracks, and why they belong together."""

    a: str
    b: str
    kind: Literal["recording", "version"]
    similarity: float | None
    seconds_apart: float
    fingerprint: float | None
    lag: float | None
    evidence: list[str]


class DuplicateGroup(BaseModel):
    """Tracks that belong together; of one recording the best first."""

    kind: Literal["recording", "version"]
    tracks: list[Track]
    pairs: list[DuplicatePair]


class Duplicates(BaseModel):
    """What the library has more than once."""

    total: int
    offset: int
    groups: list[DuplicateGroup]


class CompareRequest(Asked):
    """Two to twelve tracks, side by side."""

    tracks: list[Text] = Field(min_length=2, max_length=12)
    space: str | None = Field(None, max_length=500)


class AlikeMoment(BaseModel):
    """A moment of one track that is like a moment of another."""

    first: str = Field(description="Track id")
    second: str
    at: float = Field(description="Seconds in the first")
    there: float = Field(description="Seconds in the second")
    similarity: float


class Comparison(BaseModel):
    """Tracks compared in every space."""

    space: str
    tracks: list[Track]
    similarity: dict[str, list[list[float | None]]] = Field(
        description="Space id to cosines; null where a track has no vector there"
    )
    moments: list[AlikeMoment]


class SpaceInfo(BaseModel):
    """A space of the library."""

    id: str
    encoder: str
    dims: int
    tracks: int
    active: bool = Field(description="Whether scans fill it")
    reads: bool = Field(description="Whether it understands words")
    answers: bool = Field(description="Whether it answers when none is named")


class Failed(BaseModel):
    """A file that could not be taken in."""

    path: str
    kind: str
    reason: str
    at: float


class Status(BaseModel):
    """What the library holds."""

    version: str
    folder: str
    tracks: int
    seconds: float
    audio_bytes: int
    formats: dict[str, int]
    failures: dict[str, int] = Field(description="How many files of each kind of failure")
    spaces: list[SpaceInfo]
    gone: int = Field(description="Tracks whose files are not there now")
    writer: str = Field(description='The process that is writing, in words, or ""')
    revision: int = Field(description="Changes whenever a track does")


class FailedPage(BaseModel):
    """Some of the files that failed."""

    total: int
    offset: int
    failures: list[Failed]


class ScanState(BaseModel):
    """Where a scan stands."""

    state: Literal["idle", "running", "done", "failed", "stopped", "elsewhere"] = Field(
        description="elsewhere: another process is writing the library; the figures are those of its scan"
    )
    can_start: bool = Field(description="Whether the server knows folders to scan, and nothing else writes")
    folders: list[str] = Field(description="What is scanned")
    done: int = 0
    total: int | None = None
    failed: int = 0
    audio_seconds: float = 0.0
    elapsed: float = 0.0
    added: int = 0
    updated: int = 0
    moved: int = 0
    removed: int = 0
    unchanged: int = 0
    message: str = Field("", description="What went wrong, or who writes")


class EncoderInfo(BaseModel):
    """An encoder that the library can be indexed with."""

    name: str
    about: str
    licence: str
    dims: int | None
    here: bool = Field(description="Whether its weights are on this machine")
    missing: str = Field(description="What would install what runs it; empty when that is here")
    reads: bool = Field(description="Whether it understands words")
    spaces: list[str] = Field(description="Ids of its spaces in this library")


class Peaks(BaseModel):
    """The shape of a track's sound."""

    duration: float
    peaks: list[int] = Field(description="800 values 0 to 255: the loudest sample of each 800th of the track")


class Login(Asked):
    """A name and a password."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    password: Annotated[str, Field(min_length=1, max_length=1000)]


class Session(BaseModel):
    """Who is asking."""

    user: str | None = Field(description="null: nobody is logged in")
    login: bool = Field(description="Whether this server wants a login; false on one's own machine")
    profile: str = Field(description="Whose taste counts unless a request names another profile")
    version: str
    moods: list[str] = Field(description="Words for mixes")
    scan: bool = Field(description="Whether scans can be started from here")


class Working(BaseModel):
    """Something that takes long is being made: ask again."""

    state: Literal["working"]
    retry: int = Field(description="Seconds to wait before asking again")


class Health(BaseModel):
    """Whether the server answers."""

    status: Literal["ok"]
