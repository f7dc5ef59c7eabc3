"""The same embedding over many machines: Ray does the distribution, Parquet files carry the results.

`embed_with_ray` lists files in folders and buckets, lets actors of a Ray cluster do with each what a worker of the
local scan does, and leaves small Parquet files; `load` fills a record with them. A run that is killed, whole or in
part, loses nothing that was written, and makes nothing twice: see `actors` for how.
"""

from soundkin.cluster.loading import LoadReport, load, sources_of
from soundkin.cluster.running import ClusterOptions, ClusterReport, embed_with_ray

__all__ = ["ClusterOptions", "ClusterReport", "LoadReport", "embed_with_ray", "load", "sources_of"]
