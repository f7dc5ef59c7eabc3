/** What the HTTP API answers; the same names as in its OpenAPI document. */

export type Verdict = "" | "like" | "dislike";

/** What every list of tracks shows. */
export interface Listed {
  id: string;
  name: string;
  artist: string;
  album: string;
  duration: number;
  genres: string[];
  year: number | null;
  bpm: number | null;
  key: string;
  energy: number | null;
  path: string;
  verdict: Verdict;
}

export interface Track extends Listed {
  title: string;
  format: string;
  sample_rate: number;
  size: number;
  added: number;
}

export interface Moment {
  here: number;
  there: number;
  seconds: number;
  cosine: number;
}

export interface Hit extends Listed {
  rank: number;
  similarity: number;
  reasons: string[];
  moments: Moment[];
  follows: string;
  close: boolean;
  there: boolean;
}

export interface Answer {
  space: string;
  hits: Hit[];
  note: string;
}

export interface Heard {
  name: string;
  title: string;
  artist: string;
  album: string;
  genres: string[];
  duration: number;
  bpm: number | null;
  key: string;
}

export interface UploadAnswer extends Answer {
  heard: Heard;
}

export interface PathAnswer extends Answer {
  jumps: number[];
}

export interface TracksPage {
  total: number;
  offset: number;
  tracks: Track[];
}

export interface FacetValue {
  value: string;
  count: number;
  filter: string;
}

export interface Facets {
  total: number;
  facets: Record<string, FacetValue[]>;
}

export interface SearchAnswer {
  tracks: Track[];
  artists: FacetValue[];
  albums: FacetValue[];
}

export interface Profile {
  name: string;
  likes: number;
  dislikes: number;
  skips: number;
  plays: number;
}

export interface Session {
  user: string | null;
  login: boolean;
  profile: string;
  version: string;
  moods: string[];
  scan: boolean;
}

export interface Taste {
  learned: boolean;
  why_not: string;
}

export interface PlaylistHead {
  id: string;
  name: string;
  count: number;
  changed: number;
}

export interface Playlist extends PlaylistHead {
  tracks: Track[];
  gone: number;
}

export interface Cluster {
  number: number;
  name: string;
  count: number;
  tracks: Track[];
}

export interface DuplicatePair {
  a: string;
  b: string;
  similarity: number | null;
  evidence: string[];
}

export interface DuplicateGroup {
  kind: "recording" | "version";
  tracks: Track[];
  pairs: DuplicatePair[];
}

export interface Duplicates {
  total: number;
  offset: number;
  groups: DuplicateGroup[];
}

export interface SpaceInfo {
  id: string;
  encoder: string;
  dims: number;
  tracks: number;
  active: boolean;
  reads: boolean;
  answers: boolean;
}

export interface AlikeMoment {
  first: string;
  second: string;
  at: number;
  there: number;
  similarity: number;
}

export interface Comparison {
  space: string;
  tracks: Track[];
  /** Space id to the cosines of all tracks with all; null where a track has no vector there. */
  similarity: Record<string, (number | null)[][]>;
  moments: AlikeMoment[];
}

export interface Status {
  version: string;
  folder: string;
  tracks: number;
  seconds: number;
  audio_bytes: number;
  formats: Record<string, number>;
  failures: Record<string, number>;
  spaces: SpaceInfo[];
  gone: number;
  writer: string;
}

export interface Failed {
  path: string;
  kind: string;
  reason: string;
  at: number;
}

export interface FailedPage {
  total: number;
  offset: number;
  failures: Failed[];
}

export interface ScanState {
  state: "idle" | "running" | "done" | "failed" | "stopped" | "elsewhere";
  can_start: boolean;
  folders: string[];
  done: number;
  total: number | null;
  failed: number;
  audio_seconds: number;
  elapsed: number;
  added: number;
  updated: number;
  moved: number;
  removed: number;
  unchanged: number;
  message: string;
}

export interface EncoderInfo {
  name: string;
  about: string;
  licence: string;
  dims: number | null;
  /** The command that installs what runs it; empty when that is here. */
  missing: string;
  reads: boolean;
  spaces: string[];
}

export interface Peaks {
  duration: number;
  peaks: number[];
}
