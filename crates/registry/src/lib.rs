//! bld-registry
