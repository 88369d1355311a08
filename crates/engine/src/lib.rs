//! bld-engine
