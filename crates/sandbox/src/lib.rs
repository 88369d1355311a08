//! bld-sandbox
