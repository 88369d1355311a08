//! bld-solve
