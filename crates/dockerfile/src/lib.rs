//! bld-dockerfile
