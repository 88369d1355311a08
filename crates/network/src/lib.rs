//! bld-network
