//! The OCI distribution protocol over the content store: pulling and pushing images.
//!
//! Nothing of it exists yet: the engine refuses `pull` and `push` by name. Source: the OCI distribution specification.
