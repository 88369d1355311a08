//! bld-store
