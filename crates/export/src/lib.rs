//! bld-export
