//! bld-graph
