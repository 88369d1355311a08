//! bld-layer
