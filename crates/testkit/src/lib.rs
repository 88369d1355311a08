//! bld-testkit
