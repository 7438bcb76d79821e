//! Nothing: the manifest beside it names the crates that `benches/compare` takes as sources.
